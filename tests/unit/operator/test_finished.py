"""A job that has ended lets go of its nodes, and is deleted when its time is over."""

import pytest

from customizer_contract.errors import ExitCode, Reason
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, POD, PYTORCH_JOB
from tests.support import samples
from tests.unit.operator.simulator import World
from tests.unit.operator.stages import running

FIRST = (PYTORCH_JOB, "tickets-a1")


@pytest.mark.parametrize(
    ("exit_code", "words", "kept", "released"),
    [(0, samples.trained(), 290, 310), (ExitCode.BAD_INPUT, samples.failed(Reason.TRAINING_DIVERGED), 35, 60)],
    ids=["complete", "failed"],
)
def test_pods_that_nobody_stops_are_released_after_a_while(
    exit_code: int, words: str, kept: int, released: int
) -> None:
    world, (first, second) = running()
    world.end_pod(first, exit_code, words)
    world.run(20)
    assert world.status["state"] in ("Complete", "Failed")
    world.run(kept - 20)
    assert FIRST in world.objects
    world.run(released - kept)
    assert FIRST not in world.objects
    assert "deletionTimestamp" in world.objects[POD, second]["metadata"]


def test_a_pytorchjob_that_finished_unseen_stays_as_a_record() -> None:
    world, (first, second) = running()
    world.unseen[FIRST] = world.objects[FIRST]
    world.end_pod(first, 0, samples.trained())
    world.end_pod(second, 0)
    world.set_conditions(FIRST, "Succeeded")
    world.run(3600)
    assert FIRST in world.objects


def test_a_job_that_holds_nodes_for_too_long_fails_and_releases_them_at_once() -> None:
    world, (first, second) = running(activeDeadlineSeconds=100)
    world.run(95)
    assert world.status["state"] == "Training"
    world.run(20)
    assert world.condition("Failed") == ("True", "DeadlineExceeded")
    assert "activeDeadlineSeconds (100)" in world.status["message"]
    assert FIRST not in world.objects
    assert {first, second} == {
        pod["metadata"]["name"] for pod in world.pods() if "deletionTimestamp" in pod["metadata"]
    }


def test_the_deadline_counts_all_attempts_and_not_the_time_between_them() -> None:
    world, pods = running(activeDeadlineSeconds=100)
    world.run(60)
    world.set_spec(suspend=True)
    world.settle()
    world.remove_pods(*pods)
    world.run(1000)
    world.set_spec(suspend=False)
    world.settle()
    world.run(1000)
    world.run_pods(*world.make_workers(2))
    world.run(30)
    assert world.status["state"] == "Training"
    world.run(20)
    assert world.condition("Failed") == ("True", "DeadlineExceeded")


@pytest.mark.parametrize("exit_code", [0, ExitCode.BAD_INPUT], ids=["complete", "failed"])
def test_a_job_is_deleted_when_its_time_after_the_end_is_over(exit_code: int) -> None:
    world, (first, _) = running(ttlSecondsAfterFinished=3600)
    words = samples.trained() if exit_code == 0 else samples.failed(Reason.TRAINING_DIVERGED)
    world.end_pod(first, exit_code, words)
    world.run(3590)
    assert (CUSTOMIZATION_JOB, "tickets") in world.objects
    world.now = world.now.replace(hour=world.now.hour + 1)
    world.look()
    assert (CUSTOMIZATION_JOB, "tickets") not in world.objects


def test_the_report_tells_what_was_trained_queued_idle_and_lost() -> None:
    world = World(samples.job("tickets", compute={"device": "gpu"}))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    pods = world.make_workers(1)
    world.run(60)
    world.run_pods(*pods)
    world.run(1800)
    for pod in pods:
        world.end_pod(pod, 0, samples.trained())
    world.settle()
    report = world.status["report"]
    assert report["queuedSeconds"] == 60
    assert report["runningSeconds"] == 1800
    assert report["gpuHours"] == 1.0, "2 GPUs for half an hour"
    assert report["restartedSeconds"] == 0
    told = "1 GPU-hours, 1 attempt; 30m trained; waste: 60s queued, 0s before the first step, 0s lost by restarts."
    assert report["summary"] == told
    assert [message for reason, message, _ in world.events if reason == "Report"] == [told]
