"""Whether an attempt hangs: its pods run, and nothing moves."""

from datetime import datetime, timedelta

from customizer_contract.progress import PROGRESS_PORT, Progress
from customizer_operator.api.customization_job import FailurePolicy
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.attempts import HUNG, Ending
from customizer_operator.plan.progress import show_duration

_MEDIAN_STEPS = 20
"""Median steps without a step that are too many, however long steps take."""
_MOVING_PHASES = ("Training", "Validating", "Checkpointing")
"""Phases that tell of themselves as they go on."""
_SILENT_PHASE = timedelta(hours=12)
"""Longest time that loading or publishing a model may take, of which nothing is told meanwhile: a terabyte at 50 MB/s
takes six hours. Since the pods were placed where rank 0 has not told anything yet, fetching included."""
_UNHEARD_AFTER = timedelta(minutes=5)
"""How long rank 0 may take until it can be asked; it imports its libraries first."""

UNHEARD = (
    "Nobody can reach rank 0: its progress is not shown, and that it hangs is not seen. Check that NetworkPolicies let"
    f" the operator reach port {PROGRESS_PORT} of the training pods."
)
"""A warning; an attempt that trains behind a NetworkPolicy is not ended for it."""


def find_hang(attempt: Attempt, told: Progress | None, policy: FailurePolicy, now: datetime) -> Ending | None:
    """Returns the end of a running attempt that hangs. `told` is what rank 0 says now, None if it does not answer."""
    patience = timedelta(seconds=policy.hung_after_seconds)
    if not patience:
        return None
    if told is None:
        since = attempt.silent_since
        if since is None or attempt.step is None or now - since < patience:
            return None
        return _hung(f"Rank 0 has not told its progress for {show_duration((now - since).total_seconds())}.")
    if told.attempt != attempt.number:
        return None
    if told.phase not in _MOVING_PHASES:
        return _find_long_phase(attempt, told, max(patience, _SILENT_PHASE), now)
    if told.idle_seconds is None:
        return None
    limit = max(patience.total_seconds(), _MEDIAN_STEPS * (told.step_seconds or 0))
    if told.idle_seconds < limit:
        return None
    usual = "" if told.step_seconds is None else f"; a step takes {told.step_seconds:g} s"
    return _hung(f"Nothing has moved for {show_duration(told.idle_seconds)} after step {told.step}{usual}.")


def _find_long_phase(attempt: Attempt, told: Progress, limit: timedelta, now: datetime) -> Ending | None:
    idle = None if told.idle_seconds is None else timedelta(seconds=told.idle_seconds)
    if idle is None and told.phase == "Starting" and attempt.placed_at is not None:
        idle = now - attempt.placed_at
    if idle is None or idle < limit:
        return None
    return _hung(f"Rank 0 has been {told.phase.lower()} for {show_duration(idle.total_seconds())}.")


def find_unheard(attempt: Attempt, now: datetime) -> tuple[str, ...]:
    """Returns a warning if rank 0 has not been heard once since all pods run."""
    since = attempt.silent_since
    never_heard = attempt.step is None and since is not None and now - since >= _UNHEARD_AFTER
    return (UNHEARD,) if never_heard else ()


def note_silence(attempt: Attempt, told: Progress | None, now: datetime) -> Attempt:
    """Returns a running attempt with the time since which rank 0 is not heard."""
    since = None if told is not None else attempt.silent_since or now
    return attempt if since == attempt.silent_since else attempt.model_copy(update={"silent_since": since})


def _hung(what: str) -> Ending:
    message = (
        f"{what} Look at the network between the nodes and at the GPUs; failurePolicy.hungAfterSeconds says how long"
        " to wait."
    )
    return Ending(AttemptOutcome.FAILED, HUNG, message, retryable=True)
