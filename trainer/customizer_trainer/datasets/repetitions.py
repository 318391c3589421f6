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
        found.training_pairs += training.pairs(digests[~held_out], numbers[~held_out], of_themselves=True)
        overlap = np.isin(digests[held_out], training.digests)
        found.overlap += int(overlap.sum())
        found.overlap_pairs += training.pairs(digests[held_out], numbers[held_out], of_themselves=False)
    found.training_pairs = sorted(found.training_pairs)[:SHOWN]
    found.overlap_pairs = sorted(found.overlap_pairs)[:SHOWN]
    return found


class _Group:
    """Distinct digests, each with the first sample that has it."""

    def __init__(self, digests: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        self.digests, first = np.unique(digests, return_index=True)
        self._firsts = numbers[first]
        self.repeated = len(digests) - len(self.digests)

    def pairs(
        self, digests: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64], *, of_themselves: bool
    ) -> list[tuple[int, int]]:
        """Returns the first samples among `numbers` that repeat one of the group, with that one."""
        if not len(self.digests):
            return []
        places = np.minimum(np.searchsorted(self.digests, digests), len(self.digests) - 1)
        firsts = self._firsts[places]
        repeats = self.digests[places] == digests
        if of_themselves:
            repeats &= firsts != numbers
        return list(zip(numbers[repeats][:SHOWN].tolist(), firsts[repeats][:SHOWN].tolist(), strict=True))


def _select(chunks: Chunks, part: int, parts: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    digests, numbers, start = [], [], 0
    for chunk in chunks():
        chosen = np.flatnonzero(chunk["digest"] % np.uint64(parts) == part)
        digests.append(chunk["digest"][chosen])
        numbers.append(chosen + start)
        start += len(chunk)
    return np.concatenate(digests), np.concatenate(numbers)
