"""Load for servers: many requests at once, again and again, with pauses that leave a small machine room for more."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

IN_FLIGHT = 50
_PAUSE_SECONDS = 3.0


@dataclass(slots=True)
class Outcomes:
    """What came of the requests."""

    answered: int = 0
    errors: list[str] = field(default_factory=list)


@contextmanager
def keep_asking(ask: Callable[[int], object]) -> Iterator[Outcomes]:
    """Keeps asking, `IN_FLIGHT` requests at once; each is told its number. All have ended when the block has."""
    outcomes = Outcomes()
    over = threading.Event()

    def run() -> None:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            while True:
                asked = [pool.submit(ask, number) for number in range(IN_FLIGHT)]
                problems = [future.exception() for future in asked]
                outcomes.errors += [str(problem) for problem in problems if problem is not None]
                outcomes.answered += problems.count(None)
                if over.wait(_PAUSE_SECONDS):
                    return

    thread = threading.Thread(target=run, name="load")
    thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        thread.join()
