"""The events of a CustomizationJob: what has become so, each once."""

from collections.abc import Sequence
from typing import Literal

from customizer_operator.api.base import Condition
from customizer_operator.api.customization_job_status import Attempt, CustomizationJobStatus
from customizer_operator.api.reasons import AttemptOutcome, ConditionType
from customizer_operator.plan.conditions import find_changes
from customizer_operator.plan.plan import Event

_NEWS = {
    ConditionType.DATASET_READY: "True",
    ConditionType.RUNNING: "True",
    ConditionType.COMPLETE: "True",
    ConditionType.FAILED: "True",
    ConditionType.SUSPENDED: "True",
    ConditionType.STALLED: "True",
}
"""Conditions that are worth an event when they become so."""


def find_events(
    previous: CustomizationJobStatus, current: CustomizationJobStatus, ended: Sequence[Attempt]
) -> tuple[Event, ...]:
    """Returns what the current status tells and the previous one did not, and the attempts that ended."""
    # Not the time: an operator that died before it wrote the status tells the same once more, which is no news.
    occasion = f"{current.attempt or 0}/{current.observed_generation or 0}"
    changes = find_changes(previous.conditions or (), current.conditions or ())
    events = [_tell_condition(condition, occasion) for condition in changes if _is_news(condition)]
    known = {attempt.number for attempt in previous.attempts or ()}
    for attempt in current.attempts or ():
        if attempt.number not in known:
            text = f"Attempt {attempt.number} started."
            events.append(Event("Normal", "AttemptStarted", text, str(attempt.number)))
    events += [_tell_end(attempt) for attempt in ended]
    return tuple(events)


def _is_news(condition: Condition) -> bool:
    failed_preflight = condition.type == ConditionType.DATASET_READY and condition.status == "False"
    return failed_preflight or _NEWS.get(ConditionType(condition.type)) == condition.status


def _tell_condition(condition: Condition, occasion: str) -> Event:
    bad = condition.type in (ConditionType.FAILED, ConditionType.STALLED) or condition.status == "False"
    kind: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
    reason = condition.reason if bad else condition.type
    return Event(kind, reason, condition.message or condition.type, occasion)


def _tell_end(attempt: Attempt) -> Event:
    text = f"Attempt {attempt.number} ended: {attempt.reason}. {attempt.message or ''}".strip()
    failed = attempt.outcome is AttemptOutcome.FAILED
    return Event("Warning" if failed else "Normal", f"Attempt{attempt.outcome}", text, str(attempt.number))
