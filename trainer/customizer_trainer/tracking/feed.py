"""The loop that feeds a tracker. What it cannot be told now is kept, and told later."""

import logging
import select
from collections import deque
from typing import IO, cast, get_args

from customizer_trainer.tracking.record import Values, read_values
from customizer_trainer.tracking.tracker import Ending, Tracker, TrackerUnavailableError
from customizer_trainer.training.events import EventReader

log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
_MOST_KEPT = 100_000
_LINE_LIMIT = 300


def feed(
    tracker: Tracker, reader: EventReader, every_steps: int, ends: IO[str], pause: float = PAUSE_SECONDS
) -> str | None:
    """Tells a tracker what rank 0 tells, until `ends` says how the attempt ended; returns what went wrong at last."""
    kept: deque[Values] = deque(maxlen=_MOST_KEPT)
    while True:
        ended, _, _ = select.select([ends], [], [], pause)
        told = (read_values(event, every_steps) for rank, event in reader.news() if rank == 0)
        kept.extend(values for values in told if values is not None)
        try:
            if kept or ended:
                tracker.send(list(kept))
                kept.clear()
            if ended:
                tracker.close(_read_ending(ends))
                return None
        except TrackerUnavailableError as error:
            problem = " ".join(str(error).split())[:_LINE_LIMIT]
            log.warning("the tracker was not told of %d values: %s", len(kept), problem)
            if ended:
                return f"{len(kept)} values were not told: {problem}" if kept else problem


def _read_ending(ends: IO[str]) -> Ending:
    """Reads how the attempt ended. Nothing is said by a process that is gone."""
    word = ends.readline().strip()
    return cast(Ending, word) if word in get_args(Ending) else "FAILED"
