"""A file whose digest is computed while it is read for its content, so that it is read once."""

import io
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

_BUFFER_BYTES = 2**20


class Hasher(Protocol):
    """A hash that is being computed."""

    def update(self, data: Any, /) -> None:
        """Takes up more bytes."""


def open_hashed(path: Path, hasher: Hasher | None) -> BinaryIO:
    """Opens a file for reading; what is read of it, from its start on, goes into the hash if there is one."""
    if hasher is None:
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_HashedFile(path, hasher), _BUFFER_BYTES))


def hash_rest(stored: BinaryIO) -> None:
    """Reads on to the end, for the hash alone."""
    while stored.read(_BUFFER_BYTES):
        pass


class _HashedFile(io.RawIOBase):
    def __init__(self, path: Path, hasher: Hasher) -> None:
        self._file = path.open("rb", buffering=0)
        self._hasher = hasher

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._file.readinto(buffer)
        self._hasher.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
