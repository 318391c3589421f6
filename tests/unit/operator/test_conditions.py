"""Conditions keep their time until their status changes."""

from datetime import UTC, datetime

from customizer_operator.plan.conditions import Finding, date_conditions, find_changes

EARLY = datetime(2026, 1, 1, tzinfo=UTC)
LATE = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_condition_is_dated_when_its_status_changes_and_not_when_only_its_words_do() -> None:
    first = date_conditions([], [Finding("Running", "False", "A", "why")], generation=1, now=EARLY)
    second = date_conditions(first, [Finding("Running", "False", "B", "words")], generation=2, now=LATE)
    third = date_conditions(second, [Finding("Running", "True", "C", "why")], generation=2, now=LATE)
    assert [c.last_transition_time for c in (first[0], second[0], third[0])] == [EARLY, EARLY, LATE]
    assert [c.observed_generation for c in (first[0], second[0], third[0])] == [1, 2, 2]


def test_a_new_reason_is_news_and_a_new_message_is_none() -> None:
    first = date_conditions([], [Finding("Running", "False", "A", "why")], generation=1, now=EARLY)
    reworded = date_conditions(first, [Finding("Running", "False", "A", "words")], generation=1, now=LATE)
    other = date_conditions(first, [Finding("Running", "False", "B", "why")], generation=1, now=LATE)
    assert find_changes(first, reworded) == []
    assert find_changes(first, other) == other
    assert find_changes([], first) == first
