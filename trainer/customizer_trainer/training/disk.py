"""Whether the disk that ranks write to is full."""

import os
from pathlib import Path

_LEAST_BYTES = 2**16
"""Less than any file that is written there, but for what ranks tell."""


def is_full(folder: Path) -> bool:
    """Tells whether there is no room left on the disk of a folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _LEAST_BYTES
