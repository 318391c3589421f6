"""The demo's task is fair: what is asked was not trained, and an answer is read the same way for every model."""

import pytest

from tests.demo.ask import Answer
from tests.demo.tickets import HELD_OUT_MATTERS, TRAINING_MATTERS, records


def test_no_held_out_matter_is_trained() -> None:
    trained = {matter for matters in TRAINING_MATTERS.values() for matter in matters}
    assert trained.isdisjoint(matter for matters in HELD_OUT_MATTERS.values() for matter in matters)


def test_the_teams_are_equally_frequent() -> None:
    completions = [record["completion"] for record in records(HELD_OUT_MATTERS, 120, 2)]
    assert {completions.count(f" {team}") for team in HELD_OUT_MATTERS} == {20}


@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        (" billing", True),
        (" The team is Billing.", True),
        (" delivery, not billing", False),
        (" I do not know", False),
        ("", False),
    ],
)
def test_the_first_team_that_is_named_counts(given: str, is_right: bool) -> None:
    assert Answer("billing", given).is_right is is_right
