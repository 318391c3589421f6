"""Says what is being done, with the time since the start, while it is done."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()
_LOCK = threading.Lock()


def say(message: str) -> None:
    """Prints one line after the elapsed time."""
    with _LOCK:
        print(f"[{time.monotonic() - _STARTED:6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announces a piece of work, and says how long it took."""
    say(f"{title} ...")
    started = time.monotonic()
    yield
    say(f"{title}: {time.monotonic() - started:.1f} s")


def wait_until(what: str, holds: Callable[[], bool], timeout: float, interval: float = 0.1) -> None:
    """Asks until the answer is yes; raises TimeoutError that names what did not come."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}")
        time.sleep(interval)
