"""What a watch misses is asked for: a job goes on within seconds, whatever the caches still believe."""

import copy

import pytest

from customizer_contract.errors import Reason
from customizer_operator.plan.plan import POD, PYTORCH_JOB
from tests.support import samples
from tests.unit.operator.simulator import World

FIRST, SECOND = (PYTORCH_JOB, "tickets-a1"), (PYTORCH_JOB, "tickets-a2")


@pytest.fixture
def world() -> World:
    """A job whose first attempt is about to begin."""
    world = World(samples.job("tickets"))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    return world


def run_attempt(world: World) -> list[str]:
    pods = world.make_workers(1)
    world.run_pods(*pods)
    world.settle()
    return pods


def test_a_pytorchjob_that_failed_unseen_is_followed_by_the_next_attempt(world: World) -> None:
    pods = run_attempt(world)
    world.unseen[FIRST] = copy.deepcopy(world.objects[FIRST])
    for pod in pods:
        world.end_pod(pod, 1, samples.failed(Reason.CRASHED))
    world.set_conditions(FIRST, "Failed")
    world.run(12)
    assert SECOND in world.objects
    assert FIRST in world.objects, "it was not deleted: it had finished"


def test_a_pytorchjob_that_was_deleted_unseen_is_followed_by_the_next_attempt(world: World) -> None:
    pods = run_attempt(world)
    world.unseen[FIRST] = copy.deepcopy(world.objects[FIRST])
    del world.objects[FIRST]
    world.remove_pods(*pods)
    world.run(12)
    assert SECOND in world.objects


def test_pods_that_went_unseen_are_followed_by_the_next_attempt(world: World) -> None:
    first, second = run_attempt(world)
    world.remove_pods(second)
    world.settle()
    world.unseen[POD, first] = copy.deepcopy(world.objects[POD, first])
    world.remove_pods(first)
    world.run(40)
    assert SECOND in world.objects
    assert world.condition("Stalled")[0] == "False"


def test_a_pytorchjob_that_was_taken_notice_of_unseen_is_not_called_ignored(world: World) -> None:
    world.unseen[FIRST] = copy.deepcopy(world.objects[FIRST])
    world.make_workers(1)
    world.run(60)
    assert world.condition("Stalled")[0] == "False"


def test_a_pytorchjob_that_the_caches_have_not_heard_of_is_taken_up(world: World) -> None:
    world.unseen[FIRST] = None
    world.subject["status"].pop("attempts")
    world.settle()
    assert [attempt["number"] for attempt in world.status["attempts"]] == [1]


def test_an_attempt_whose_pytorchjob_the_caches_lack_goes_on(world: World) -> None:
    run_attempt(world)
    world.unseen[FIRST] = None
    world.run(60)
    assert world.status["state"] == "Training"
    assert [attempt.get("outcome") for attempt in world.status["attempts"]] == [None]
    assert FIRST in world.objects


def follow_by_second(world: World) -> None:
    """Lets attempt 2 run, because everybody took the first one's PyTorchJob for deleted; then it is seen again."""
    pods = run_attempt(world)
    first = world.objects.pop(FIRST)
    world.remove_pods(*pods)
    world.settle()
    world.run_pods(*world.make_workers(2))
    world.settle()
    world.objects[FIRST] = first
    assert world.status["attempts"][1]["runningAt"]


def test_a_pytorchjob_of_an_earlier_attempt_that_still_goes_on_is_stopped(world: World) -> None:
    follow_by_second(world)
    world.run(30)
    assert FIRST not in world.objects
    assert SECOND in world.objects
    assert world.condition("Running")[0] == "True"


def test_one_that_has_finished_unseen_stays_as_a_record(world: World) -> None:
    follow_by_second(world)
    world.unseen[FIRST] = copy.deepcopy(world.objects[FIRST])
    world.set_conditions(FIRST, "Failed")
    world.run(30)
    assert FIRST in world.objects
