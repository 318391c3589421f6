"""Texts to tokens with a model's tokenizer, the fast way where it is exact."""

from array import array
from collections.abc import Sequence
from typing import Any, Protocol

from customizer_trainer.datasets.fast import FastTokenizer, Tokens, find_fast
from customizer_trainer.datasets.spans import Span


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    eos_token: str | None
    chat_template: Any

    def __call__(self, text: Any, **options: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


class TextEncoder:
    """A tokenizer, and its fast form where it has one.

    `fast` looks for it: that takes half a second, and saves most of the time of a few megabytes.
    """

    def __init__(self, tokenizer: Tokenizer, *, fast: bool) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-sequence token")
        self.tokenizer = tokenizer
        self.eos = _pack([tokenizer.eos_token_id])
        self.bos = None if tokenizer.bos_token_id is None else _pack([tokenizer.bos_token_id])
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._before, self._closes = self._find_marks()
        self._quick: FastTokenizer | None = find_fast(self._backend) if fast and self._backend is not None else None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts, begin and end not marked."""
        if self._quick is None:
            return self._encode(texts)
        found = self._quick.encode(texts)
        rest = iter(self._encode([text for text, tokens in zip(texts, found, strict=True) if tokens is None]))
        return [next(rest) if tokens is None else tokens for tokens in found]

    def encode_prompts(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts as a server sees them, that is, with their begin marked; but they go on."""
        before = self._before
        if before is not None:
            return [before + tokens for tokens in self.encode(texts)] if before else self.encode(texts)
        encoded = [_pack(ids) for ids in self.tokenizer(list(texts))["input_ids"]]
        return [tokens[:-4] if self._closes else tokens for tokens in encoded]

    def encode_spans(self, text: str, spans: Sequence[Span]) -> tuple[Tokens, list[Span]] | None:
        """Returns tokens and stretches of tokens for spans of characters, where the fast form tells; else None."""
        return None if self._quick is None else self._quick.encode_spans(text, spans)

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        if self._backend is None:
            return [_pack(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
        return [_pack(found.ids) for found in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _find_marks(self) -> tuple[Tokens | None, bool]:
        """Returns what the tokenizer puts before each text, None if that is not all, and whether it closes texts."""
        marked = list(self.tokenizer("a")["input_ids"])
        bare = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        closes = marked[-1:] == [self.tokenizer.eos_token_id] != bare[-1:]
        if closes:
            del marked[-1]
        before = marked[: len(marked) - len(bare)]
        return (_pack(before) if marked == before + bare else None), closes


def _pack(ids: Sequence[int]) -> Tokens:
    return array("i", ids).tobytes()
