"""Whatever ends an attempt, the next one goes on from the newest checkpoint as if nothing had happened."""

import signal
import time
from pathlib import Path

import pytest

from customizer_contract.errors import Reason
from customizer_contract.job import Job
from tests.train.disks import fill, small_disk
from tests.train.harness import Outcome, Pod, Storage, slowed
from tests.train.pods import checkpoint_exists, download, fetch, train
from tests.train.sft import STEPS, Trained, sft_job, start_nodes, train_unbroken


@pytest.fixture(scope="module")
def unbroken(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What all attempts of a job together must come to."""
    return train_unbroken(storage, "uninterrupted", tmp_path_factory.mktemp("uninterrupted"))


def test_two_nodes_without_a_shared_disk_have_the_losses_of_one_process_whatever_happens_to_them(
    storage: Storage, unbroken: Trained, tmp_path: Path
) -> None:
    job = sft_job(storage, "two-nodes", nodes=2)

    # A signal to one of them: both save the step and end.
    first = start_nodes(tmp_path / "first", job, storage, attempt=1)
    with slowed(first[1].pod, attempt=1):
        first[0].running.until(lambda: len(first[0].pod.steps(1)) >= 3)
        first[1].running.process.send_signal(signal.SIGTERM)
        stopped = [node.running.wait() for node in first]
    assert [outcome.code for outcome in stopped] == [75, 75], stopped[0].log
    step = stopped[0].result.training.checkpoint_step
    assert stopped[0].result.error.reason == Reason.PREEMPTED
    assert 3 <= step < STEPS

    # One of them is gone, after an epoch's checkpoint: the other one says so and does not wait for it.
    second = start_nodes(tmp_path / "second", job, storage, attempt=2)
    with slowed(second[1].pod, attempt=2):
        second[0].running.until(lambda: checkpoint_exists(storage, job, 16, attempt=2) and 17 in second[0].pod.steps(2))
        second[1].kill(attempt=2)
    began = time.monotonic()
    left = second[0].running.wait()
    assert time.monotonic() - began < 45, left.log
    assert left.code == 1
    assert left.result.error.reason == Reason.PEER_LOST
    assert left.result.training.resumed_from_step == step

    # The next attempt goes on from that checkpoint, and publishes.
    third = start_nodes(tmp_path / "third", job, storage, attempt=3)
    done = [node.running.wait() for node in third]
    assert [outcome.code for outcome in done] == [0, 0], done[0].log
    assert done[0].result.training.resumed_from_step == 16
    assert done[0].result.artifact is not None
    assert done[1].result.artifact is None
    merged = {**first[0].pod.losses(1), **second[0].pod.losses(2), **third[0].pod.losses(3)}
    assert min(second[0].pod.losses(2)) == step + 1
    assert min(third[0].pod.losses(3)) == 17
    assert merged == pytest.approx(unbroken.losses, rel=1e-4)
    download(storage, "s3://tests/out/two-nodes", tmp_path / "artifact")


def test_an_attempt_goes_on_with_another_number_of_nodes_and_processes(
    storage: Storage, unbroken: Trained, tmp_path: Path
) -> None:
    spreads = [{"nodes": 2}, {"nodes": 1}, {"nodes": 2}, {"processes": 2}]
    losses: dict[int, float] = {}
    for attempt, spread in enumerate(spreads, start=1):
        job, is_last = sft_job(storage, "spread-anew", **spread), attempt == len(spreads)
        stopped = run_steps(tmp_path / str(attempt), job, storage, attempt, None if is_last else 3)
        reached = max(losses, default=None)
        assert stopped.outcome.result.training.resumed_from_step == reached
        losses |= stopped.pod.losses(attempt)
        assert max(losses) == stopped.outcome.result.training.checkpoint_step
    assert losses == pytest.approx(unbroken.losses, rel=1e-4)
    manifest = download(storage, "s3://tests/out/spread-anew", tmp_path / "artifact")
    expected = unbroken.outcome.result.training.validation_loss
    assert manifest.metrics["reloaded_loss"] == pytest.approx(expected, rel=1e-3)


def run_steps(disk: Path, job: Job, storage: Storage, attempt: int, steps: int | None) -> Trained:
    """Runs an attempt, and tells all of its pods to stop after so many steps; returns that of node 0."""
    nodes = start_nodes(disk, job, storage, attempt)
    if steps is not None:
        with slowed(nodes[0].pod, attempt):
            nodes[0].running.until(lambda: len(nodes[0].pod.steps(attempt)) >= steps)
            for node in nodes:
                node.running.process.send_signal(signal.SIGTERM)
            ended = [node.running.wait() for node in nodes]
    else:
        ended = [node.running.wait() for node in nodes]
    assert {outcome.code for outcome in ended} == {0 if steps is None else 75}, ended[0].log
    return Trained(nodes[0].pod, ended[0])


EVERY = 2
DISK_KIBIBYTES = 65536


def test_a_disk_that_fills_up_ends_the_attempt_and_loses_no_more_than_an_interval(
    storage: Storage, unbroken: Trained, tmp_path: Path
) -> None:
    job = sft_job(storage, "full-disk", checkpoint_every=EVERY)
    pod = Pod(tmp_path / "1", job, storage)
    with small_disk(pod.disk / "workspace", DISK_KIBIBYTES):
        fetch(pod)
        running = train(pod)
        with slowed(pod, attempt=1):
            running.until(lambda: checkpoint_exists(storage, job, 2 * EVERY, attempt=1))
            fill(pod.disk / "workspace")
            outcome = running.wait()
        losses = pod.losses(1)
    check_full(outcome)
    saved = outcome.result.training.checkpoint_step
    assert saved >= 2 * EVERY
    assert outcome.result.training.step - saved <= EVERY

    again = Pod(tmp_path / "2", job, storage)
    fetch(again)
    done = train(again, attempt=2).wait()
    assert done.code == 0, done.log
    assert done.result.training.resumed_from_step == saved
    assert losses | again.losses(2) == pytest.approx(unbroken.losses, rel=1e-4)


def test_a_disk_that_is_too_small_for_the_inputs_is_named(storage: Storage, tmp_path: Path) -> None:
    pod = Pod(tmp_path, sft_job(storage, "small-disk"), storage)
    with small_disk(pod.disk / "workspace", 128):
        check_full(pod.run("fetch"))


def check_full(outcome: Outcome) -> None:
    """An end that says what is full and what to change, and may be tried again."""
    assert outcome.code == 1, outcome.log
    assert outcome.result.error.reason == Reason.DISK_FULL, outcome.log
    assert "ephemeral-storage" in outcome.result.error.message
