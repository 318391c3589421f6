"""What a tracker is to the process that feeds it."""

from collections.abc import Sequence
from typing import Literal, Protocol

from customizer_trainer.tracking.record import Values

Ending = Literal["FINISHED", "FAILED", "KILLED"]
"""How an attempt ended, in MLflow's words: all done, failed, or told to stop."""


class TrackerUnavailableError(Exception):
    """The tracker cannot be told now; the message says why, in one line."""


class Tracker(Protocol):
    """A run at a tracker. Every method may raise TrackerUnavailableError, and is then called again."""

    def send(self, values: Sequence[Values]) -> None:
        """Tells numbers, the oldest first; opens the run if that is not done."""

    def close(self, ending: Ending) -> None:
        """Tells how the attempt ended."""
