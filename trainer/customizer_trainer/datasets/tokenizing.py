"""Texts to tokens with a model's tokenizer, the fast way where it is exact."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from customizer_trainer.datasets.fast import FastTokenizer, find_fast
from customizer_trainer.datasets.spans import Span
from customizer_trainer.datasets.tokens import TokenLists, Tokens, join_tokens, pack_ids

_BATCH = 512
"""Texts that the model's own tokenizer encodes at once."""


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
        self.eos = pack_ids([tokenizer.eos_token_id])
        self.bos = None if tokenizer.bos_token_id is None else pack_ids([tokenizer.bos_token_id])
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._before, self._closes = self._find_marks()
        self._quick: FastTokenizer | None = find_fast(self._backend) if fast and self._backend is not None else None

    def encode(self, texts: Sequence[str]) -> TokenLists:
        """Returns the tokens of texts, begin and end not marked."""
        quick = self._quick
        if quick is None:
            return join_tokens(self._encode(texts))
        if (all_ := quick.encode_all(texts)) is not None:
            return all_
        found = quick.encode(texts)
        rest = iter(self._encode([text for text, tokens in zip(texts, found, strict=True) if tokens is None]))
        return join_tokens([next(rest) if tokens is None else tokens for tokens in found])

    def encode_prompts(self, texts: Sequence[str]) -> TokenLists:
        """Returns the tokens of texts as a server sees them, that is, with their begin marked; but they go on."""
        if self._before is not None:
            return replace(self.encode(texts), before=self._before)
        encoded = [pack_ids(ids) for ids in self.tokenizer(list(texts))["input_ids"]]
        return join_tokens([tokens[:-4] if self._closes else tokens for tokens in encoded])

    def encode_spans(self, text: str, spans: Sequence[Span]) -> tuple[Tokens, list[Span]] | None:
        """Returns tokens and stretches of tokens for spans of characters, where the fast form tells; else None."""
        return None if self._quick is None else self._quick.encode_spans(text, spans)

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        if self._backend is None:
            return [pack_ids(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
        # What it returns of a text is large, so that no more is asked for than keeps its threads busy.
        return [
            pack_ids(found.ids)
            for start in range(0, len(texts), _BATCH)
            for found in self._backend.encode_batch_fast(list(texts[start : start + _BATCH]), add_special_tokens=False)
        ]

    def _find_marks(self) -> tuple[Tokens | None, bool]:
        """Returns what the tokenizer puts before each text, None if that is not all, and whether it closes texts."""
        marked = list(self.tokenizer("a")["input_ids"])
        bare = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        closes = marked[-1:] == [self.tokenizer.eos_token_id] != bare[-1:]
        if closes:
            del marked[-1]
        before = marked[: len(marked) - len(bare)]
        return (pack_ids(before) if marked == before + bare else None), closes
