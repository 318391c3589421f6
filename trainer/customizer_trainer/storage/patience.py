"""Goes on when the object store has been away for a while."""

import logging
from collections.abc import Callable
from typing import TypeVar

from customizer_contract.errors import CustomizerError, Reason

Outcome = TypeVar("Outcome")

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 300.0
"""How long the object store may be away before one gives up."""
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 2.0, 30.0


def patiently(action: Callable[[], Outcome], what: str, give_up: Callable[[float], bool]) -> Outcome:
    """Does it, again and again while the store does not answer; `give_up` waits, and may say that it is enough.

    Raises what else is wrong at once, and StorageUnavailable in the end.
    """
    waited = 0.0
    while True:
        try:
            return action()
        except CustomizerError as error:
            if error.reason is not Reason.STORAGE_UNAVAILABLE or waited >= PATIENCE_SECONDS:
                raise
            log.warning("trying again to %s: %s", what, error)
            pause = min(_LAST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS + waited)
            if give_up(pause):
                raise
            waited += pause
