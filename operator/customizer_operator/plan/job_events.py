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

_EVERY_ATTEMPT = (ConditionType.RUNNING, ConditionType.STALLED)
"""Conditions that are news in each attempt anew; the others are so once for a spec."""


def find_events(
    previous: CustomizationJobStatus, current: CustomizationJobStatus, ended: Sequence[Attempt]
) -> tuple[Event, ...]:
    """Returns what the current status tells and the previous one did not, and the attempts that ended."""
    # Not the time: an operator that died before it wrote the status tells the same once more, which is no news.
    changes = find_changes(previous.conditions or (), current.conditions or ())
    events = [_tell_condition(change, _find_occasion(change, current)) for change in changes if _is_news(change)]
    known = {attempt.number for attempt in previous.attempts or ()}
    for attempt in current.attempts or ():
        if attempt.number not in known:
            text = f"Attempt {attempt.number} started."
            events.append(Event("Normal", "AttemptStarted", text, str(attempt.number)))
    events += [_tell_end(attempt) for attempt in ended]
    if current.report is not None and current.report.summary is not None and previous.report is None:
        events.append(Event("Normal", "Report", current.report.summary, str(current.observed_generation)))
    return tuple(events)


def _find_occasion(condition: Condition, status: CustomizationJobStatus) -> str:
    every_attempt = ConditionType(condition.type) in _EVERY_ATTEMPT
    return f"{status.observed_generation}/{status.attempt}" if every_attempt else str(status.observed_generation)


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
