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
