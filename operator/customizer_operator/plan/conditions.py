"""Conditions: what is to be told, and since when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from customizer_operator.api.base import Condition

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition without its history."""

    type: str
    status: Truth
    reason: str
    message: str
    """A sentence; of a condition that holds back the job, with what to do."""


def date_conditions(
    previous: Sequence[Condition], findings: Iterable[Finding], *, generation: int, now: datetime
) -> list[Condition]:
    """Returns the findings as conditions: a condition keeps its time until its status changes."""
    before = {condition.type: condition for condition in previous}
    dated = []
    for finding in findings:
        old = before.get(finding.type)
        since = old.last_transition_time if old is not None and old.status == finding.status else now
        dated.append(
            Condition(
                type=finding.type,
                status=finding.status,
                reason=finding.reason,
                message=finding.message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return dated


def keep_others(previous: Sequence[Condition], findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings, and beside them what was told before of other conditions."""
    told = {finding.type for finding in findings}
    kept = [Finding(old.type, old.status, old.reason, old.message) for old in previous if old.type not in told]
    return [*findings, *kept]


def find_changes(previous: Sequence[Condition], current: Sequence[Condition]) -> list[Condition]:
    """Returns the conditions whose status or reason is new; these are worth an event."""
    before = {condition.type: (condition.status, condition.reason) for condition in previous}
    return [condition for condition in current if before.get(condition.type) != (condition.status, condition.reason)]
