"""An object by several requests at once, each read straight into its place in the file.

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
_BUFFER_BYTES = 2**20
_TRIES = 8


class Body(Protocol):
    """What a server answers."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Reads some of what is left; returns how much, 0 at the end."""


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
    buffer, tries = memoryview(bytearray(min(_BUFFER_BYTES, end - position))), 0
    while position < end:
        try:
            body = ask(position, end)
            while read := body.readinto(buffer[: end - position]):
                position += _write(descriptor, buffer[:read], position)
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
