"""Samples on disk: three flat files that are read by memory map, so that neither writing nor reading fills memory."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

_TOKENS, _LEARNED, _TABLE = "tokens.i32", "learned.u8", "measures"

MEASURES = np.dtype([("digest", "u8"), ("file", "u4"), ("number", "u4"), ("length", "u4"), ("before", "u4")])
"""What is known of each sample: a digest of the record, its file and its number in it, its tokens, those before."""

_PART = 2**19

IGNORED = -100
"""Label of a token that is not learned, as all trainers have it."""


class SampleWriter:
    """Appends samples to a folder: always their measures, their tokens only if they are to be trained."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.count = 0

    def __enter__(self) -> Self:
        self._tokens: IO[bytes] = (self._folder / _TOKENS).open("wb")
        self._learned: IO[bytes] = (self._folder / _LEARNED).open("wb")
        self._table: IO[bytes] = (self._folder / _TABLE).open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._tokens, self._learned, self._table):
            stream.close()

    def add(self, measures: npt.NDArray[np.void], tokens: bytes, learned: bytes) -> None:
        """Appends samples: MEASURES of each, their tokens (32 bits each), and a byte for each whether it is learned."""
        self.count += len(measures)
        self._table.write(measures.tobytes())
        self._tokens.write(tokens)
        self._learned.write(learned)


def read_parts(folder: Path) -> Iterator[npt.NDArray[np.void]]:
    """Reads the measures of all samples of a folder in parts, which never are in memory together."""
    with (folder / _TABLE).open("rb") as stream:
        while len(part := np.fromfile(stream, dtype=MEASURES, count=_PART)):
            yield part


def read_places(folder: Path, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Returns file and number within it of some samples."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    table = _map(folder / _TABLE, MEASURES)
    return {number: (int(table[number]["file"]), int(table[number]["number"])) for number in wanted}


class SampleStore:
    """The samples of a folder, by number."""

    def __init__(self, folder: Path) -> None:
        table = np.fromfile(folder / _TABLE, dtype=MEASURES)
        self.lengths_before: npt.NDArray[np.int64] = table["before"].astype(np.int64)
        self.lengths: npt.NDArray[np.int64] = table["length"].astype(np.int64)
        self._ends = np.cumsum(self.lengths)
        self._tokens = _map(folder / _TOKENS, np.dtype(np.int32))
        self._learned = _map(folder / _LEARNED, np.dtype(np.uint8))

    def __len__(self) -> int:
        return len(self._ends)

    def tokens(self, number: int) -> list[int]:
        """Returns the tokens of a sample."""
        part: list[int] = self._tokens[self._slice(number)].tolist()
        return part

    def labels(self, number: int) -> list[int]:
        """Returns for each token of a sample itself if it is learned, else IGNORED. Not shifted."""
        where = self._slice(number)
        labels: list[int] = np.where(self._learned[where], self._tokens[where], IGNORED).tolist()
        return labels

    def _slice(self, number: int) -> slice:
        end = int(self._ends[number])
        return slice(end - int(self.lengths[number]), end)


def write_indices(path: Path, numbers: Sequence[int] | npt.NDArray[np.int64]) -> None:
    """Writes the numbers of the samples that make a split."""
    np.save(path, np.asarray(numbers, dtype=np.int64))


def read_indices(path: Path) -> npt.NDArray[np.int64]:
    """Reads the numbers of the samples that make a split."""
    indices: npt.NDArray[np.int64] = np.load(path)
    return indices


def _map(path: Path, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")
