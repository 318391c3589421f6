"""What stands in the way of serving, whoever found it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing can be served, or why servers or the verify pod do not get on."""

    reason: str
    message: str
    stalled: bool = True
    """Whether somebody must do something."""
