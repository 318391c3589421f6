"""Whether an attempt hangs: its pods run, and nothing moves."""

from datetime import datetime, timedelta

from customizer_contract.progress import Progress
from customizer_operator.api.customization_job import FailurePolicy
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.attempts import HUNG, Ending
from customizer_operator.plan.progress import show_duration

_MEDIAN_STEPS = 20
"""Median steps without a step that are too many, however long steps take."""
_MOVING_PHASES = ("Training", "Validating", "Checkpointing")
"""Phases that tell of themselves as they go on; loading and publishing a model take their time in silence."""


def find_hang(attempt: Attempt, told: Progress | None, policy: FailurePolicy, now: datetime) -> Ending | None:
    """Returns the end of a running attempt that hangs. `told` is what rank 0 says now, None if it does not answer."""
    patience = timedelta(seconds=policy.hung_after_seconds)
    if not patience:
        return None
    if told is None:
        since = attempt.silent_since
        if since is None or now - since < patience:
            return None
        return _hung(f"Rank 0 has not told its progress for {show_duration((now - since).total_seconds())}.")
    if told.attempt != attempt.number or told.phase not in _MOVING_PHASES or told.idle_seconds is None:
        return None
    limit = max(patience.total_seconds(), _MEDIAN_STEPS * (told.step_seconds or 0))
    if told.idle_seconds < limit:
        return None
    usual = "" if told.step_seconds is None else f"; a step takes {told.step_seconds:g} s"
    return _hung(f"Nothing has moved for {show_duration(told.idle_seconds)} after step {told.step}{usual}.")


def note_silence(attempt: Attempt, told: Progress | None, now: datetime) -> Attempt:
    """Returns a running attempt with the time since which rank 0, which has been heard before, is not heard."""
    heard = told is not None or attempt.step is None
    since = None if heard else attempt.silent_since or now
    return attempt if since == attempt.silent_since else attempt.model_copy(update={"silent_since": since})


def _hung(what: str) -> Ending:
    message = (
        f"{what} Look at the network between the nodes and at the GPUs; failurePolicy.hungAfterSeconds says how long"
        " to wait."
    )
    return Ending(AttemptOutcome.FAILED, HUNG, message, retryable=True)
