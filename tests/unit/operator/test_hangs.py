"""An attempt whose pods run while nothing moves is ended; one that only takes its time is not."""

from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.progress import Progress
from customizer_operator.api.customization_job import FailurePolicy
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.plan.hangs import UNHEARD, find_hang
from customizer_operator.plan.plan import PYTORCH_JOB
from tests.unit.operator.simulator import START, World
from tests.unit.operator.stages import running

FIRST = (PYTORCH_JOB, "tickets-a1")


def told(**changes: Any) -> Progress:
    values = {"phase": "Training", "attempt": 1, "step": 4, "total_steps": 10, "epoch": 0.4, "updated_at": START}
    return Progress(**{**values, **changes})


@pytest.mark.parametrize(
    ("progress", "policy", "hangs"),
    [
        (told(idle_seconds=1799, step_seconds=2), {}, False),
        (told(idle_seconds=1801, step_seconds=2), {}, True),
        (told(idle_seconds=1801, step_seconds=100), {}, False),
        (told(idle_seconds=2001, step_seconds=100), {}, True),
        (told(idle_seconds=61, step_seconds=1), {"hung_after_seconds": 60}, True),
        (told(idle_seconds=90000, step_seconds=1), {"hung_after_seconds": 0}, False),
        (told(idle_seconds=43100, phase="Publishing"), {}, False),
        (told(idle_seconds=43300, phase="Publishing"), {}, True),
        (told(idle_seconds=43300, phase="Starting"), {}, True),
        (told(idle_seconds=43300, phase="Publishing"), {"hung_after_seconds": 90000}, False),
        (told(idle_seconds=90000, phase="Publishing"), {"hung_after_seconds": 0}, False),
        (told(phase="Publishing"), {}, False),
        (told(idle_seconds=90000, phase="Checkpointing"), {}, True),
        (told(idle_seconds=90000, attempt=2), {}, False),
        (told(), {}, False),
    ],
    ids=[
        "not for long", "for long", "steps are long", "for many long steps", "an impatient policy", "never",
        "publishing", "publishing for long", "loading for long", "a patient policy", "never, publishing",
        "publishing, an older trainer", "a checkpoint that never ends", "another attempt's words", "an older trainer",
    ],
)  # fmt: skip
def test_nothing_moves_for_longer_than_the_policy_and_twenty_steps(
    progress: Progress, policy: dict[str, int], hangs: bool
) -> None:
    ending = find_hang(Attempt(number=1, started_at=START), progress, FailurePolicy(**policy), START)
    assert (ending is not None) == hangs


@pytest.mark.parametrize(("hours", "hangs"), [(11, False), (13, True)])
def test_a_rank_that_has_told_nothing_yet_may_load_for_half_a_day_since_it_was_placed(hours: int, hangs: bool) -> None:
    attempt = Attempt(number=1, started_at=START, placed_at=START)
    ending = find_hang(attempt, told(phase="Starting"), FailurePolicy(), START + timedelta(hours=hours))
    assert (ending is not None) == hangs


def tell(world: World, **changes: Any) -> None:
    world.progress = told(**changes).model_dump(mode="json", by_alias=True)


def test_a_hung_attempt_is_stopped_at_once_counts_and_is_followed_by_the_next() -> None:
    world, pods = running()
    tell(world, idle_seconds=2000, step_seconds=1)
    world.settle()
    attempt = world.status["attempts"][0]
    assert (attempt["outcome"], attempt["reason"]) == ("Failed", "Hung")
    assert "Nothing has moved for 33m after step 4" in attempt["message"]
    assert FIRST not in world.objects
    world.remove_pods(*pods)
    world.run(20)
    assert (PYTORCH_JOB, "tickets-a2") in world.objects


def test_a_rank_0_that_fell_silent_is_given_up_and_one_that_speaks_again_is_not() -> None:
    world, _ = running(failurePolicy={"hungAfterSeconds": 600})
    tell(world, idle_seconds=1)
    world.settle()
    world.progress = None
    world.run(500)
    assert world.status["attempts"][0]["silentSince"] == (START).strftime("%Y-%m-%dT%H:%M:%SZ")
    tell(world, idle_seconds=1)
    world.run(20)
    assert "silentSince" not in world.status["attempts"][0]
    world.progress = None
    world.run(650)
    assert world.status["attempts"][0]["reason"] == "Hung"
    assert "Rank 0 has not told" in world.status["attempts"][0]["message"]


def test_a_rank_0_that_nobody_could_ever_hear_is_left_alone_with_a_warning_until_it_is_heard() -> None:
    world, _ = running(failurePolicy={"hungAfterSeconds": 600})
    world.run(290)
    assert world.status["warnings"] == ["3 rows are duplicates"]
    world.run(timedelta(hours=3).total_seconds())
    assert world.status["state"] == "Training"
    assert world.status["warnings"] == ["3 rows are duplicates", UNHEARD]
    tell(world, idle_seconds=1)
    world.run(20)
    assert world.status["warnings"] == ["3 rows are duplicates"]
