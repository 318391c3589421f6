"""A CRD or a status of another release: a finished job stays finished, and a running one is not started twice."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from customizer_operator.plan.job_view import parse_status
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, JOB, PYTORCH_JOB
from tests.support import samples
from tests.unit.operator.simulator import World
from tests.unit.operator.stages import running

SECOND = (PYTORCH_JOB, "tickets-a2")


def complete() -> World:
    world, (first, second) = running()
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.settle()
    world.remove_pods()
    return world


def default_field(world: World) -> None:
    """Has the apiserver read a field into every job that only a later release knows; no generation tells of it."""
    subject = copy.deepcopy(world.subject)
    subject["spec"]["tempo"] = "andante"
    world.put(CUSTOMIZATION_JOB, subject)


def take_back(world: World) -> None:
    """Has the apiserver serve the job as before."""
    subject = copy.deepcopy(world.subject)
    del subject["spec"]["tempo"]
    world.put(CUSTOMIZATION_JOB, subject)


def change_status(world: World, **changes: Any) -> None:
    subject = copy.deepcopy(world.subject)
    subject["status"].update(changes)
    world.put(CUSTOMIZATION_JOB, subject)


def test_a_finished_job_stays_finished_while_its_spec_is_not_understood() -> None:
    world = complete()
    before = world.status
    default_field(world)
    world.run(60)
    assert world.status == before
    take_back(world)
    world.run(600)
    assert world.status == before
    assert SECOND not in world.objects


def test_a_finished_job_whose_spec_is_not_understood_observes_newer_generations() -> None:
    world = complete()
    world.set_spec(tempo="presto")
    world.settle()
    assert world.status["observedGeneration"] == 2
    assert {entry["observedGeneration"] for entry in world.status["conditions"]} == {2}
    assert world.condition("Complete")[0] == world.condition("Published")[0] == "True"


def in_preflight() -> World:
    world = World(samples.job("tickets"))
    world.settle()
    return world


def passed() -> World:
    """One whose preflight has passed and whose children an operator of another release has not heard of yet."""
    world = in_preflight()
    world.pass_preflight(samples.passed())
    world.settle()
    world.unseen |= {key: None for key in world.objects if key[0] in (JOB, PYTORCH_JOB)}
    return world


BEGUN: dict[str, Callable[[], World]] = {
    "in preflight": in_preflight,
    "passed": passed,
    "running": lambda: running()[0],
}


@pytest.mark.parametrize("begin", BEGUN.values(), ids=BEGUN)
def test_a_job_that_has_begun_is_left_as_it_is_while_its_spec_is_not_understood(begin: Callable[[], World]) -> None:
    world = begin()
    before, objects, events = world.status, set(world.objects), set(world.events)
    default_field(world)
    world.settle()
    assert world.condition("Failed") == ("False", "InvalidSpec")
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    news = [event for key, event in world.events.items() if key not in events]
    assert [(event.type, event.reason) for event in news] == [("Warning", "InvalidSpec")]
    assert world.status["state"] == "Stalled"
    assert "spec.tempo" in world.status["message"]
    assert "what runs goes on" in world.status["message"]
    told = ("Accepted", "Complete", "Failed", "Reconciling", "Stalled")
    kept = [entry for entry in before["conditions"] if entry["type"] not in told]
    assert [entry for entry in world.status["conditions"] if entry["type"] not in told] == kept
    words = {"conditions": None, "message": None, "state": None}
    assert {**world.status, **words} == {**before, **words}
    assert set(world.objects) == objects
    world.run(600)
    assert world.condition("Failed") == ("False", "InvalidSpec")
    assert set(world.objects) == objects


def test_one_that_an_operator_of_an_earlier_release_called_failed_is_not_any_more() -> None:
    world, _ = running()
    conditions = [{**each, "status": "True"} for each in world.status["conditions"] if each["type"] == "Failed"]
    change_status(world, conditions=[{**each, "reason": "InvalidSpec"} for each in conditions])
    default_field(world)
    world.settle()
    assert world.condition("Failed") == ("False", "InvalidSpec")


def test_a_running_job_goes_on_with_its_attempt_when_its_spec_is_understood_again() -> None:
    world, (first, second) = running()
    default_field(world)
    world.run(60)
    assert world.condition("Running")[0] == "True"
    take_back(world)
    world.settle()
    assert world.condition("Running")[0] == "True"
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.settle()
    assert world.condition("Complete")[0] == "True"
    assert [attempt["number"] for attempt in world.status["attempts"]] == [1]


@pytest.mark.parametrize("lost", ["artifact", "attempts"])
def test_a_job_that_has_published_is_complete_though_an_operator_took_that_back(lost: str) -> None:
    world = complete()
    known = {key: value for key, value in world.status.items() if key not in (lost, "conditions")}
    conditions = [{**each, "status": "False", "reason": "InvalidSpec"} for each in world.status["conditions"]]
    subject = copy.deepcopy(world.subject)
    subject["status"] = {**known, "conditions": conditions}
    world.put(CUSTOMIZATION_JOB, subject)
    world.run(600)
    assert world.condition("Complete")[0] == "True"
    assert SECOND not in world.objects


def test_a_finished_job_keeps_what_a_later_release_has_told() -> None:
    world = complete()
    attempts = [{**attempt, "outcome": "Migrated"} for attempt in world.status["attempts"]]
    change_status(world, attempts=attempts, future={"a": 1})
    before = world.status
    world.run(600)
    assert world.status == before
    assert SECOND not in world.objects


def test_an_outcome_of_a_later_release_takes_nothing_else_from_a_running_job() -> None:
    world, pods = running()
    for pod in pods:
        world.end_pod(pod, 1)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    world.run(15)
    world.remove_pods()
    world.run_pods(*world.make_workers(2))
    world.settle()
    first, second = world.status["attempts"]
    change_status(world, attempts=[{**first, "outcome": "Migrated"}, second])
    world.settle()
    assert world.condition("DatasetReady")[0] == "True"
    assert world.status["attempts"][0]["reason"] == "Crashed"
    assert world.status["attempts"][1] == second


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"state": "Training", "attempt": "two"}, {"state": "Training"}),
        ({"attempts": [{"number": 1}, {"number": 2, "startedAt": "2026-11-23T20:00:00Z", "outcome": "Lost"}]},
         {"attempts": [{"number": 2, "startedAt": "2026-11-23T20:00:00Z"}]}),
        ({"attempts": [{"number": "x", "outcome": "Lost"}, {"number": 2, "startedAt": "2026-11-23T20:00:00Z"}]},
         {"attempts": [{"number": 2, "startedAt": "2026-11-23T20:00:00Z"}]}),
        ({"artifact": {"name": "tickets"}, "message": "Words."}, {"message": "Words."}),
        ({"attempts": "none", "conditions": [3, None]}, {"conditions": []}),
        ({"warnings": ["a", 3], "future": 1}, {"warnings": ["a"]}),
    ],
    ids=["a field", "a field of an item", "an item with two errors", "a part", "a list", "words"],
)  # fmt: skip
def test_a_status_is_read_as_far_as_it_makes_sense(status: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(status)
    read = parse_status({"status": status}).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert read == expected
    assert status == before
