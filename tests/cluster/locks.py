"""One run at a time, whatever becomes of it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.console import say

held: set[int] = set()
"""The locks of this run. Programs that it runs inherit them, so that a lock outlives a run that was killed until the
last of its programs ends: nothing is cleared away below a copy that still goes on."""


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Holds a lock that the kernel frees when its holders are gone."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run to release {lock}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        held.add(handle.fileno())
        try:
            yield
        finally:
            held.discard(handle.fileno())
            fcntl.flock(handle, fcntl.LOCK_UN)
