"""Samples on disk: three flat files that are read by memory map, so that neither writing nor reading fills memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from customizer_trainer.datasets.encoding import Sample

_TOKENS, _LEARNED, _TABLE = "tokens.i32", "learned.u8", "table.i64"
_COLUMNS = 2  # end of the sample in the flat files, its length before it was shortened

IGNORED = -100
"""Label of a token that is not learned, as all trainers have it."""


class SampleWriter:
    """Appends samples to a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._end = 0
        self.count = 0

    def __enter__(self) -> Self:
        self._tokens: IO[bytes] = (self._folder / _TOKENS).open("wb")
        self._learned: IO[bytes] = (self._folder / _LEARNED).open("wb")
        self._table: IO[bytes] = (self._folder / _TABLE).open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._tokens, self._learned, self._table):
            stream.close()

    def add(self, sample: Sample) -> None:
        """Appends one sample; its number is the count of those before it."""
        self._end += len(sample.tokens)
        self.count += 1
        self._tokens.write(np.asarray(sample.tokens, dtype=np.int32).tobytes())
        self._learned.write(np.asarray(sample.learned, dtype=np.uint8).tobytes())
        self._table.write(np.asarray([self._end, sample.length_before], dtype=np.int64).tobytes())


class SampleStore:
    """The samples of a folder, by number."""

    def __init__(self, folder: Path) -> None:
        table = np.fromfile(folder / _TABLE, dtype=np.int64).reshape(-1, _COLUMNS)
        self._ends = table[:, 0]
        self.lengths_before: npt.NDArray[np.int64] = table[:, 1]
        self.lengths: npt.NDArray[np.int64] = np.diff(self._ends, prepend=0)
        self._tokens = _map(folder / _TOKENS, np.int32)
        self._learned = _map(folder / _LEARNED, np.uint8)

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


def _map(path: Path, kind: type[np.generic]) -> npt.NDArray[np.generic]:
    if path.stat().st_size == 0:
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")
