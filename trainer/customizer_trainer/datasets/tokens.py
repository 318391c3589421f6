"""Tokens of many texts, one after the other, as the tokenizers hand them over."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Tokens = bytes
"""Token ids, 32 bits each, as the machine orders them."""


def pack_ids(ids: Sequence[int]) -> Tokens:
    """Returns ids as Tokens."""
    return array("i", ids).tobytes()


def find_highest(*each: Tokens) -> int:
    """Returns the highest id of all, -1 where there is none."""
    return max((int(np.frombuffer(tokens, np.int32).max()) for tokens in each if tokens), default=-1)


@dataclass(frozen=True, slots=True, eq=False)
class TokenLists:
    """The tokens of some texts."""

    tokens: Tokens
    """Those of all texts."""
    ends: npt.NDArray[np.int64]
    """Where each text begins within them, counted in tokens, and where the last one ends."""
    before: Tokens = b""
    """What every text begins with besides."""
    after: Tokens = b""
    """What every text ends with besides."""

    def split(self) -> list[Tokens]:
        """Returns the tokens of each text by themselves."""
        return [self.before + self.tokens[start:end] + self.after for start, end in pairwise((self.ends * 4).tolist())]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each text."""
        return np.diff(self.ends) + (len(self.before) + len(self.after)) // 4

    @property
    def highest(self) -> int:
        """The highest id of all, -1 where there is none."""
        return find_highest(self.before, self.tokens, self.after)

    def begin_with(self, token: Tokens | None) -> npt.NDArray[np.bool_]:
        """Tells which texts begin with this token."""
        texts = len(self.ends) - 1
        if token is None or self.before:
            return np.full(texts, token is not None and self.before[:4] == token)
        begins = np.zeros(texts, dtype=bool)
        filled = np.flatnonzero(np.diff(self.ends))
        begins[filled] = np.frombuffer(self.tokens, np.int32)[self.ends[filled]] == np.frombuffer(token, np.int32)
        return begins


def join_tokens(each: Sequence[Tokens]) -> TokenLists:
    """Puts the tokens of texts one after the other."""
    return TokenLists(b"".join(each), np.cumsum([0, *(len(tokens) // 4 for tokens in each)]))
