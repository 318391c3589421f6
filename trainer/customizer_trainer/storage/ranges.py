"""An object by several requests at once, each written to its place in the file by the thread that reads it.

boto3's own transfer copies what it reads once more, and hands it to another thread to be written: a quarter slower.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from botocore.exceptions import BotoCoreError

PART_BYTES = 64 * 2**20
_AT_ONCE = 4
_PIECE_BYTES = 2**20
_TRIES = 8


class Body(Protocol):
    """What a server answers."""

    def read(self, amount: int, /) -> bytes:
        """Reads as much of what is left, or less; nothing at the end."""


Ask = Callable[[int, int], Body]
"""Asks for the bytes from the first number to before the second."""


def bring(ask: Ask, size: int, target: Path) -> None:
    """Writes an object of this size to a file; what breaks off is asked for again from where it did."""
    starts = range(0, size, PART_BYTES)
    with target.open("wb") as stream, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="range") as pool:
        stream.truncate(size)
        for done in [pool.submit(_bring, ask, stream.fileno(), at, min(at + PART_BYTES, size)) for at in starts]:
            done.result()


def _bring(ask: Ask, descriptor: int, position: int, end: int) -> None:
    tries = 0
    while position < end:
        try:
            body = ask(position, end)
            # Not `readinto`, which urllib3 does by `read` and a copy.
            while piece := body.read(_PIECE_BYTES):
                position += _write(descriptor, memoryview(piece)[: end - position], position)
        except BotoCoreError:
            tries += 1
            if tries == _TRIES:
                raise


def _write(descriptor: int, content: memoryview, position: int) -> int:
    written = 0
    while written < len(content):
        # A disk that is full takes a part, and refuses the rest.
        written += os.pwrite(descriptor, content[written:], position + written)
    return written
