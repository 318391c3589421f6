"""Which samples share a pack: best fit decreasing, over lengths instead of samples, so that millions are cheap."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Pattern:
    """Packs that hold samples of the same lengths."""

    content: tuple[tuple[int, int], ...]
    """Lengths, each with how many samples of it a pack holds; the longest first."""
    packs: int


def find_patterns(counts: Mapping[int, int], size: int) -> list[Pattern]:
    """Packs as many samples of each length as `counts` says into packs of at most `size` tokens.

    Each sample, the longest first, goes where it leaves the least room. Raises ValueError if one is longer than a pack.
    """
    if any(length > size for length in counts):
        raise ValueError(f"a sample of {max(counts)} tokens does not fit into a pack of {size}")
    by_room: dict[int, list[Pattern]] = defaultdict(list)
    rooms = 0  # A bit for each room that some pack has.
    for length in sorted(counts, reverse=True):
        left = counts[length]
        while left:
            fitting = rooms >> length
            room = length + (fitting & -fitting).bit_length() - 1 if fitting else size
            each = room // length
            packs = by_room[room].pop() if fitting else Pattern((), -(-left // each))
            for samples, filled in _fill(each, packs.packs, left):
                left -= samples * filled
                content = (*packs.content, (length, samples)) if samples else packs.content
                rest = room - samples * length
                by_room[rest].append(Pattern(content, filled))
                rooms |= 1 << rest
            if not by_room[room]:
                rooms &= ~(1 << room)
    return [pattern for room in sorted(by_room) for pattern in by_room[room]]


def count_packs(counts: Mapping[int, int], size: int) -> int:
    """Counts the packs of at most `size` tokens that hold as many samples of each length as `counts` says."""
    return sum(pattern.packs for pattern in find_patterns(counts, size))


def pack(lengths: npt.NDArray[np.int64], size: int) -> list[list[int]]:
    """Packs samples of these lengths; returns the numbers of the samples of each pack."""
    order = np.argsort(lengths, kind="stable")
    distinct, starts, counts = np.unique(lengths[order], return_index=True, return_counts=True)
    next_of = dict(zip(distinct.tolist(), starts.tolist(), strict=True))
    packs = []
    for pattern in find_patterns(dict(zip(distinct.tolist(), counts.tolist(), strict=True)), size):
        for _ in range(pattern.packs):
            numbers: list[int] = []
            for length, samples in pattern.content:
                start = next_of[length]
                next_of[length] = start + samples
                numbers += order[start : start + samples].tolist()
            packs.append(numbers)
    return packs


def _fill(each: int, packs: int, samples: int) -> list[tuple[int, int]]:
    """Fills packs with `each` samples one after the other: how many samples, in how many packs."""
    full = min(packs, samples // each)
    rest = samples - full * each if packs > full else 0
    parts = [(each, full), (rest, 1 if rest else 0), (0, packs - full - (1 if rest else 0))]
    return [(number, filled) for number, filled in parts if filled]
