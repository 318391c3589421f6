"""A disk that is small enough to be filled."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_PIECE = bytes(2**20)


@contextlib.contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """Makes a folder a disk of its own. Needs root, as the local cluster does."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tests", folder], check=True)
    try:
        yield
    finally:
        # Lazily: what still has files open there ends on its own.
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Takes all the room that is left on a disk, to the last byte."""
    descriptor = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, _PIECE)
    finally:
        os.close(descriptor)
