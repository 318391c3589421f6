"""Texts to tokens, word by word: most words of a text have been seen before.

A byte-level BPE tokenizer first cuts a text into words, by a regular expression, then encodes each on its own. So the
tokens of a word can be kept. That is exact, and several times as fast as the tokenizer itself. It is only done where
it is known to be exact: for tokenizers built this way, after a comparison with the tokenizer itself, and for texts of
characters whose class never changed between versions of Unicode. All else takes the tokenizer's own way.
"""

import json
import random
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

_KEPT_WORDS = 200_000
_LONGEST_KEPT = 64

_UNIVERSE = [*range(0x530), *range(0x2000, 0x2C00), 0xFE0F]
_ODD = frozenset({0x17F, 0x212A})
"""Letters that are equal to an ASCII letter when case does not count."""
_STRANGE = re.compile("[^\u0000-\u017e\u0180-\u052f\u2000-\u2129\u212b-\u2bff\ufe0f\U0001f300-\U0001faff]")
_SPACE = "".join(f"\\x{code:02x}" for code in (9, 10, 11, 12, 13, 32, 0x85, 0xA0)) + (
    "\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ESCAPE = re.compile(r"\\p\{(\w+)\}|\\[sS]|\\.|\[\^?|\]", re.DOTALL)
_PROBES = 400

Tokens = bytes
"""Token ids, 32 bits each, as the machine orders them."""


class Words:
    """The words of a tokenizer with their tokens."""

    def __init__(self, backend: Any, find: Callable[[str], list[str]], added: Sequence[str], composed: bool) -> None:
        choices = "|".join(re.escape(token) for token in sorted(added, key=len, reverse=True))
        self._find = find
        self._cut = re.compile(f"({choices})") if added else None
        self._composed = composed
        self._tokens = _Kept(backend)
        self._first = _Pieces("", find, self._tokens)
        self._others = _Pieces(" ", find, self._tokens)

    def takes(self, text: str) -> bool:
        """Tells whether the words of a text are sure to be those that the tokenizer would find."""
        if text.isascii():
            return True
        return _STRANGE.search(text) is None and (not self._composed or unicodedata.is_normalized("NFC", text))

    def encode(self, text: str) -> Tokens:
        """Returns the tokens of a text, begin and end not marked."""
        if self._cut is None or self._cut.search(text) is None:
            first, *others = text.split(" ")
            last = b""
            if others and not others[-1]:
                del others[-1]
                last = self._tokens[" "]
            try:
                start = self._first[first] if first else b""
                return start + b"".join(map(self._others.__getitem__, others)) + last
            except KeyError:
                return b"".join(map(self._tokens.__getitem__, self._find(text)))
        return b"".join(map(self._tokens.__getitem__, self._split(text)))

    def encode_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[Tokens, list[tuple[int, int]]] | None:
        """Returns the tokens, and of each span of characters the first token and the one after the last.

        None if a span begins or ends within a word.
        """
        words = self._split(text)
        encoded = list(map(self._tokens.__getitem__, words))
        ends = [0, *accumulate(map(len, words))]
        counts = [0, *accumulate(len(tokens) // 4 for tokens in encoded)]
        found = []
        for span in spans:
            places = [bisect_left(ends, place) for place in span]
            if any(ends[index] != place for index, place in zip(places, span, strict=True)):
                return None
            found.append((counts[places[0]], counts[places[1]]))
        return b"".join(encoded), found

    def _split(self, text: str) -> list[str]:
        """Returns words, the vocabulary's own tokens among them."""
        if self._cut is None:
            return self._find(text)
        words: list[str] = []
        for index, part in enumerate(self._cut.split(text)):
            words += [part] if index % 2 else self._find(part)
        return words


def find_words(backend: Any) -> Words | None:
    """Returns the words of a `tokenizers.Tokenizer`; None if it is not built of words, or disagrees on a probe."""
    definition = json.loads(backend.to_str())
    normalizer = definition["normalizer"]
    pattern = _find_pattern(definition["pre_tokenizer"])
    added = [token["content"] for token in definition["added_tokens"]]
    is_plain = not any(
        token[name] for token in definition["added_tokens"] for name in ("single_word", "lstrip", "rstrip")
    )
    if pattern is None or not is_plain or normalizer not in (None, {"type": "NFC"}):
        return None
    try:
        find = re.compile(translate(pattern)).findall
    except (re.error, KeyError):
        return None
    words = Words(backend, find, added, composed=normalizer is not None)
    texts = make_probes(added)
    exact = [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
    agrees = all(
        array("i", words.encode(text)).tolist() == ids
        for text, ids in zip(texts, exact, strict=True)
        if words.takes(text)
    )
    return words if agrees else None


def translate(pattern: str) -> str:
    """Writes a pattern of Oniguruma in the words of `re`, for the characters that `Words.takes`."""
    depth = False

    def rewrite(match: re.Match[str]) -> str:
        nonlocal depth
        text = match[0]
        if text.startswith("["):
            depth = True
        elif text == "]":
            depth = False
        elif match[1]:
            return _category(match[1]) if depth else f"[{_category(match[1])}]"
        elif text == r"\s":
            return _SPACE if depth else f"[{_SPACE}]"
        elif text == r"\S":
            if depth:
                raise KeyError(text)
            return f"[^{_SPACE}]"
        return text

    return _ESCAPE.sub(rewrite, pattern)


def make_probes(added: Sequence[str]) -> list[str]:
    """Returns texts that try what words may differ in; the same each time."""
    chance = random.Random(1)  # noqa: S311
    pools = (
        "abcXYZ",
        "0123456789",
        "  \n\t\r\u00a0\u2003",
        "'\".,;:!?-_/\\()[]{}<>|@#$%^&*+=~`",
        "éßøñüČжЯαΩµªº²½№™€→•—…\u2018\u2019\u201c\u201d",
        "sStTrReEvVmMlLdD'\u2019 ",
        "\x00\x1c\x1f\x7f\x85\u0301\ufe0f😀🎉",
    )
    texts = [
        "",
        " ",
        "I'll we'VE don't",
        "a  b   c\n\n d \r\n\r\n e",
        "12345 1.234,5 x2y",
        "  lead and trail  ",
        "\n\n\n",
    ]
    for _ in range(_PROBES):
        chosen = chance.choices(pools, k=3)
        parts = ["".join(chance.choices(chance.choice(chosen), k=chance.randint(1, 6))) for _ in range(8)]
        if added and chance.random() < 0.2:
            parts.insert(chance.randrange(8), chance.choice(added))
        texts.append("".join(parts))
    return texts


class _Kept(dict[str, Tokens]):
    """Words with their tokens; starts anew when it has become large."""

    def __init__(self, backend: Any) -> None:
        # Only needed beside a tokenizer of this library.
        from tokenizers.pre_tokenizers import ByteLevel

        super().__init__()
        self._model = backend.model
        self._bytes = ByteLevel(add_prefix_space=False, use_regex=False)
        self._added = {token.content: number for number, token in backend.get_added_tokens_decoder().items()}

    def __missing__(self, word: str) -> Tokens:
        if word in self._added:
            ids = [self._added[word]]
        else:
            (mapped, _), *_ = self._bytes.pre_tokenize_str(word)
            ids = [token.id for token in self._model.tokenize(mapped)]
        tokens = array("i", ids).tobytes()
        if len(word) <= _LONGEST_KEPT:
            if len(self) >= _KEPT_WORDS:
                self.clear()
            self[word] = tokens
        return tokens


class _Pieces(dict[str, Tokens]):
    """What stands between single spaces, with its tokens.

    No word goes on after a space, and which words follow does not depend on those before. So a piece between two
    spaces can be kept as a whole, whatever words it has. Raises KeyError for a piece that white space borders on: in a
    run of it, words begin elsewhere.
    """

    def __init__(self, before: str, find: Callable[[str], list[str]], tokens: _Kept) -> None:
        super().__init__()
        self._before = before
        self._find = find
        self._words = tokens

    def __missing__(self, piece: str) -> Tokens:
        if not piece or piece[0].isspace() or piece[-1].isspace():
            raise KeyError(piece)
        tokens = b"".join(map(self._words.__getitem__, self._find(self._before + piece)))
        if len(piece) <= _LONGEST_KEPT:
            if len(self) >= _KEPT_WORDS:
                self.clear()
            self[piece] = tokens
        return tokens


def _find_pattern(steps: dict[str, Any] | None) -> str | None:
    """Returns the expression that cuts words, if bytes are all that comes after it."""
    match steps:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return _GPT2
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
    return None


def _category(name: str) -> str:
    """Returns the characters of a category as ranges of a set."""
    members = [code for code in _UNIVERSE if unicodedata.category(chr(code)).startswith(name) and code not in _ODD]
    if not members:
        raise KeyError(name)
    ranges: list[list[int]] = []
    for code in members:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in ranges)
