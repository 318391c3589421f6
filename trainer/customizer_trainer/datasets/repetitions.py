"""Records that occur more than once, found by their digests a part at a time, so that memory stays flat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_AT_ONCE = 2**21
"""Digests that are compared at once."""
SHOWN = 20

Chunks = Callable[[], Iterator[npt.NDArray[np.void]]]
"""Reads the measures of all samples from the start, in parts."""


@dataclass(slots=True)
class Repetitions:
    """How many samples repeat others; of the first ones, the sample and the one that it repeats."""

    training: int = 0
    """Training samples that occur earlier in the training data."""
    validation: int = 0
    """Validation samples that occur earlier in the validation data."""
    overlap: int = 0
    """Validation samples that occur in the training data."""
    training_pairs: list[tuple[int, int]] = field(default_factory=list)
    overlap_pairs: list[tuple[int, int]] = field(default_factory=list)


def find_repetitions(chunks: Chunks, is_validation: npt.NDArray[np.bool_]) -> Repetitions:
    """Finds repetitions within training and validation, and of training in validation."""
    found = Repetitions()
    parts = max(1, -(-len(is_validation) // _AT_ONCE))
    for part in range(parts):
        digests, numbers = _select(chunks, part, parts)
        held_out = is_validation[numbers]
        training = _Group(digests[~held_out], numbers[~held_out])
        validation = _Group(digests[held_out], numbers[held_out])
        found.training += training.repeated
        found.validation += validation.repeated
        found.training_pairs += training.find_pairs()
        overlap = _are_in(validation.digests, training.ordered)
        found.overlap += int(overlap.sum())
        found.overlap_pairs += training.pair(validation.digests[overlap][:SHOWN], validation.numbers[overlap][:SHOWN])
    found.training_pairs = sorted(found.training_pairs)[:SHOWN]
    found.overlap_pairs = sorted(found.overlap_pairs)[:SHOWN]
    return found


class _Group:
    """Digests of samples, whose numbers ascend.

    Sorting digests alone takes a tenth of the time of sorting them with their numbers, and most data repeat little.
    """

    def __init__(self, digests: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        self.digests = digests
        self.numbers = numbers
        self.ordered = np.sort(digests)
        self._again = self.ordered[1:][self.ordered[1:] == self.ordered[:-1]]
        self.repeated = len(self._again)

    def find_pairs(self) -> list[tuple[int, int]]:
        """Returns the first samples that repeat one before them, with the first one of that content."""
        among = _are_in(self.digests, self._again)
        numbers = self.numbers[among]
        _, first, which = np.unique(self.digests[among], return_index=True, return_inverse=True)
        firsts = numbers[first][which]
        repeats = firsts != numbers
        return list(zip(numbers[repeats][:SHOWN].tolist(), firsts[repeats][:SHOWN].tolist(), strict=True))

    def pair(self, digests: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        """Returns a few samples of another group with the first one here that has the content of each."""
        firsts = [int(self.numbers[np.argmax(self.digests == digest)]) for digest in digests]
        return list(zip(numbers.tolist(), firsts, strict=True))


def _are_in(digests: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Tells of each digest whether it is one of those that are ordered."""
    if not len(ordered):
        return np.zeros(len(digests), dtype=bool)
    places = np.minimum(np.searchsorted(ordered, digests), len(ordered) - 1)
    found: npt.NDArray[np.bool_] = ordered[places] == digests
    return found


def _select(chunks: Chunks, part: int, parts: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    digests, numbers, start = [], [], 0
    for chunk in chunks():
        chosen = np.flatnonzero(chunk["digest"] % np.uint64(parts) == part)
        digests.append(chunk["digest"][chosen])
        numbers.append(chosen + start)
        start += len(chunk)
    return np.concatenate(digests), np.concatenate(numbers)
