"""The tokens of a model's tokenizer, found by a faster one.

The model's own tokenizer reads a few megabytes a second. Another library reads the same file and is many times as
fast, but only the model's own says what is right: a server encodes with it. So the two are compared before the fast
one is used: on texts that try what tokenizers differ in, and, when characters beyond ASCII are first met, on all
characters of their page of Unicode, since libraries follow different versions of it. What the two read differently is
left to the model's own.
"""

import json
import random
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from customizer_trainer.datasets.tokens import TokenLists, Tokens, pack_ids

_PAGE = 256
_PROBES = 400
_ADDED_PROBES = 256
_ASCII = bytes(range(0x80))
_KEEP = "surrogatepass"
_SURROGATES = range(0xD800, 0xE000)


class FastTokenizer:
    """A tokenizer of fastokens, and where it agrees with the model's own."""

    def __init__(self, exact: Any, fast: Any, *, composes: bool, sizes: npt.NDArray[np.int64] | None) -> None:
        self._exact = exact
        self._fast = fast
        self._composes = composes
        self._sizes = sizes
        self._ranges = "\\x00-\\x7f"
        self._unproven = re.compile(f"[^{self._ranges}]")
        self._pages: set[int] = set()

    def takes(self, text: str) -> bool:
        """Tells whether both tokenizers are sure to read a text alike."""
        return text.isascii() or (self._knows(text) and self._is_composed(text))

    def encode(self, texts: Sequence[str]) -> Sequence[Tokens | None]:
        """Returns the tokens of texts, begin and end not marked; None of a text that is left to the model's own."""
        taken = list(map(self.takes, texts))
        found = iter(self._encode_each([text for text, takes in zip(texts, taken, strict=True) if takes]))
        return [next(found) if takes else None for takes in taken]

    def encode_all(self, texts: Sequence[str]) -> TokenLists | None:
        """Does the same, faster; returns None if it is not all of them."""
        return self._encode(texts) if self._takes_all(texts) else None

    def encode_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[Tokens, list[tuple[int, int]]] | None:
        """Returns the tokens, and of each span of characters the tokens that begin in it: the first, and the one after.

        None where the tokens do not tell where they are from.
        """
        if self._sizes is None:
            return None
        (tokens,) = self.encode([text])
        if tokens is None:
            return None
        ends = np.cumsum(self._sizes[np.frombuffer(tokens, dtype=np.int32)])
        if len(ends) == 0 or ends[-1] != len(text.encode()):
            return None
        starts = np.concatenate(([0], ends[:-1]))
        places = [len(text[:place].encode()) for span in spans for place in span]
        numbers = np.searchsorted(starts, places).tolist()
        return tokens, list(zip(numbers[::2], numbers[1::2], strict=True))

    def agree(self, texts: Sequence[str]) -> list[bool]:
        """Tells for each text whether the fast tokenizer gives the tokens that the model's own gives, or none."""
        exact = self._exact.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            tokens is None or tokens == pack_ids(encoding.ids)
            for encoding, tokens in zip(exact, self._encode_each(texts), strict=True)
        ]

    def _takes_all(self, texts: Sequence[str]) -> bool:
        """Does what `takes` does, of all texts at once: each character beyond ASCII is looked at once, however often.

        Most of a text is ASCII, which bytes can be rid of many times as fast as an expression can pass over it.
        """
        text = "".join(texts)
        if text.isascii():
            return True
        others = set(text.encode(errors=_KEEP).translate(None, _ASCII).decode(errors=_KEEP))
        return self._knows("".join(others)) and all(text.isascii() or self._is_composed(text) for text in texts)

    def _knows(self, text: str) -> bool:
        """Tells whether both tokenizers read each character of a text alike; tries pages that are new."""
        while found := self._unproven.search(text):
            page = ord(found[0]) // _PAGE
            if page in self._pages:
                return False
            self._prove(page)
        return True

    def _is_composed(self, text: str) -> bool:
        return not self._composes or unicodedata.is_normalized("NFC", text)

    def _encode(self, texts: Sequence[str]) -> TokenLists | None:
        try:
            tokens, ends = self._fast.encode_batch_flat(texts)
        except ValueError:  # One of them has a byte that has no token.
            return None
        return TokenLists(tokens, np.frombuffer(ends, dtype=np.int64))

    def _encode_each(self, texts: Sequence[str]) -> Sequence[Tokens | None]:
        found = self._encode(texts)
        if found is not None:
            return found.split()
        return [None] if len(texts) == 1 else [tokens for text in texts for tokens in self._encode_each([text])]

    def _prove(self, page: int) -> None:
        """Adds those characters of a page that both tokenizers read alike, whatever stands beside them."""
        self._pages.add(page)
        codes = [code for code in range(page * _PAGE, (page + 1) * _PAGE) if code not in _SURROGATES and code > 0x7F]
        agreed = self.agree([make_character_probe(chr(code)) for code in codes])
        self._ranges += _write_ranges([code for code, agrees in zip(codes, agreed, strict=True) if agrees])
        self._unproven = re.compile(f"[^{self._ranges}]")


def find_fast(exact: Any) -> FastTokenizer | None:
    """Returns the fast form of a `tokenizers.Tokenizer`; None if there is none, or if it differs on a probe."""
    # Only needed where there is much to encode.
    from fastokens import Tokenizer  # type: ignore[import-untyped]

    definition = json.loads(exact.to_str())
    try:
        fast = Tokenizer.from_json_str(exact.to_str())
    except ValueError:  # A kind that it does not know.
        return None
    added = [token["content"] for token in definition["added_tokens"]]
    composes = definition["normalizer"] is not None
    found = FastTokenizer(exact, fast, composes=composes, sizes=_find_sizes(exact, definition))
    return found if all(found.agree(make_probes(added))) else None


def make_probes(added: Sequence[str]) -> list[str]:
    """Returns texts that try what tokenizers differ in; the same each time."""
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
        *map(make_character_probe, map(chr, range(0x80))),
        *(f"a{token}b {token} 1{token}{token}\n{token}\n" for token in added[:_ADDED_PROBES]),
    ]
    for _ in range(_PROBES):
        chosen = chance.choices(pools, k=3)
        parts = ["".join(chance.choices(chance.choice(chosen), k=chance.randint(1, 6))) for _ in range(8)]
        if added and chance.random() < 0.2:
            parts.insert(chance.randrange(8), chance.choice(added))
        texts.append("".join(parts))
    return texts


def make_character_probe(character: str) -> str:
    """Returns a text that shows of what class a tokenizer takes a character to be."""
    c = character
    return f"a{c}b A{c}B 1{c}2 .{c}. {c}{c}\n{c} \n '{c}a {c}'s  {c}\u0301"


def _find_sizes(exact: Any, definition: dict[str, Any]) -> npt.NDArray[np.int64] | None:
    """Returns how many bytes of a text each token stands for; None where that is not one character of it a byte."""
    steps = definition["pre_tokenizer"] or {}
    last = steps["pretokenizers"][-1] if steps.get("type") == "Sequence" else steps
    if last.get("type") != "ByteLevel" or definition["normalizer"] not in (None, {"type": "NFC"}):
        return None
    sizes = {number: len(token) for token, number in exact.get_vocab(with_added_tokens=False).items()}
    sizes |= {number: len(token.content.encode()) for number, token in exact.get_added_tokens_decoder().items()}
    table = np.zeros(max(sizes) + 1, dtype=np.int64)
    table[list(sizes)] = list(sizes.values())
    return table


def _write_ranges(codes: Sequence[int]) -> str:
    """Writes ascending code points as ranges of a set."""
    breaks = [index for index in range(1, len(codes)) if codes[index] != codes[index - 1] + 1]
    return "".join(
        f"\\U{codes[first]:08x}-\\U{codes[last - 1]:08x}"
        for first, last in pairwise([0, *breaks, len(codes)])
        if last > first
    )
