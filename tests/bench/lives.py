"""Lives of jobs: how soon an applied one is a PyTorchJob, alone and among hundreds, and what it asks of the apiserver.

Beside a bare client that makes the same objects, and beside the real training-operator that makes pods of them, on the
same apiserver.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from threading import Lock

from tests.api.conftest import ROOT, Operator
from tests.api.control_plane import ADMIN_TOKEN, ControlPlane
from tests.api.world import World
from tests.bench.operators import Audit, count_writes, read_use
from tests.bench.rest import start_control_plane
from tests.bench.stage import Stage, find_workers
from tests.bench.training_operator import REQUESTS_PER_SECOND, start_training_operator
from tests.support import samples

JOBS, ALONE = 500, 30
_APPLIERS = 8
_PATIENCE = 600.0
_MOMENT = 3.0
"""Seconds that pods run in the end."""
Apply = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of each job."""

    to_preflight: list[float]
    """From apply to the Job of preflight."""
    to_training: list[float]
    """From the end of preflight to the PyTorchJob."""
    whole: list[float]
    """From apply to the PyTorchJob."""
    to_pods: list[float]
    """From the PyTorchJob to the last of its pods, which training-operator makes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way has taken."""

    alone: Taken
    crowd: Taken
    seconds: float
    """Until the last of the crowd was a PyTorchJob."""
    processor_seconds: float
    memory: float


def _await(what: str, is_done: Callable[[], bool], stage: Stage) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_done():
        if stage.errors:
            raise stage.errors[0]
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def _apply_alone(stage: Stage, apply: Apply) -> Taken:
    """Applies one job after the other."""
    began: dict[str, float] = {}
    for number in range(ALONE):
        name = f"alone-{number}"
        began[name] = time.monotonic()
        apply(name)
        _await(name, lambda name=name: _has_pods(stage, name), stage)
    return _take(stage, began)


def _apply_crowd(stage: Stage, apply: Apply, count: int) -> Taken:
    """Wants all jobs at one moment."""
    names = [f"job-{number}" for number in range(count)]
    began = dict.fromkeys(names, time.monotonic())
    with ThreadPoolExecutor(_APPLIERS) as pool:
        for _ in pool.map(apply, names):
            pass
    _await("pods", lambda: all(_has_pods(stage, name) for name in names), stage)
    return _take(stage, began)


def _has_pods(stage: Stage, name: str) -> bool:
    return all(("pods", pod) in stage.seen for pod in find_workers(name))


def _take(stage: Stage, began: dict[str, float]) -> Taken:
    def at(plural: str, name: str) -> float:
        return stage.seen[plural, name]

    return Taken(
        [at("jobs", f"{name}-preflight") - start for name, start in began.items()],
        [at("pytorchjobs", f"{name}-a1") - stage.passed[name] for name in began],
        [at("pytorchjobs", f"{name}-a1") - start for name, start in began.items()],
        [max(at("pods", pod) for pod in find_workers(name)) - at("pytorchjobs", f"{name}-a1") for name in began],
    )


def measure_operator(plane: ControlPlane, count: int) -> tuple[Outcome, Counter[str]]:
    """Lets the operator do it; returns also what it asked of the apiserver for whole lives, by call."""
    world = World(plane, "ours")
    stage = Stage(world)
    stage.begin()
    operator = Operator(plane, world, plane.folder / "operator.log")
    try:
        world.wait("the operator", lambda: _answers(world, stage))
        audit = Audit(plane.audit)
        outcome = _measure(
            stage, operator.pid, lambda name: world.create("customizationjobs", samples.job(name)), count
        )
        names = ["first", *(f"alone-{number}" for number in range(ALONE))] + [
            f"job-{number}" for number in range(count)
        ]
        world.wait("attempts to run", lambda: _count(world, "Running") >= len(names), _PATIENCE)
        time.sleep(_MOMENT)
        with ThreadPoolExecutor(_APPLIERS) as pool:
            for _ in pool.map(stage.end, names):
                pass
        world.wait("all jobs to end", lambda: _count(world, "Complete") >= len(names), _PATIENCE)
        return outcome, audit.read()
    finally:
        operator.stop()


def _answers(world: World, stage: Stage) -> bool:
    """Tells whether both operators have begun to work: a first job, which does not count, has its pods."""
    if world.get("customizationjobs", "first") is None:
        world.create("customizationjobs", samples.job("first"))
    return _has_pods(stage, "first")


def _count(world: World, kind: str) -> int:
    statuses = [item.get("status") or {} for item in world.all("customizationjobs")]
    return sum(
        any(entry["type"] == kind and entry["status"] == "True" for entry in status.get("conditions", ()))
        for status in statuses
    )


def measure_bare(plane: ControlPlane, count: int) -> Outcome:
    """Lets the bare client do it."""
    world = World(plane, "bare")
    stage = Stage(world)
    stage.begin()
    with _start_bare(plane, world) as client:
        lock = Lock()

        def apply(name: str) -> None:
            assert client.stdin is not None
            with lock:
                client.stdin.write(f"{name}\n")
                client.stdin.flush()

        return _measure(stage, client.pid, apply, count)


@contextmanager
def _start_bare(plane: ControlPlane, world: World) -> Iterator["subprocess.Popen[str]"]:
    kubeconfig = plane.write_kubeconfig(plane.folder / "bare.kubeconfig", ADMIN_TOKEN)
    command = [sys.executable, "-P", "-m", "tests.bench.bare_client", str(kubeconfig), world.namespace]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        try:
            yield client
        finally:
            client.kill()


def _measure(stage: Stage, process: int, apply: Apply, count: int) -> Outcome:
    before = read_use(process)
    alone = _apply_alone(stage, apply)
    crowd = _apply_crowd(stage, apply, count)
    after = read_use(process)
    return Outcome(
        alone, crowd, max(crowd.whole), after.processor_seconds - before.processor_seconds, after.peak_memory
    )


def report(count: int = JOBS) -> None:
    """Prints both side by side, and the operator's calls for a life."""
    with start_control_plane() as plane, start_training_operator(plane) as training_operator:
        ours, calls = measure_operator(plane, count)
        after_ours = read_use(training_operator)
        bare = measure_bare(plane, count)
    print(f"\nFrom apply to PyTorchJob: {ALONE} jobs one by one, then {count} at once; p50 / p99 in seconds")
    print(f"{'':<40}{'operator':>18}{'bare client':>18}")
    for title, attribute in (("one by one", "alone"), (f"{count} at once", "crowd")):
        rows = (
            ("apply to preflight", "to_preflight"),
            ("preflight's end to PyTorchJob", "to_training"),
            ("apply to PyTorchJob", "whole"),
        )
        for name, field in rows:
            cells = [_show(getattr(getattr(outcome, attribute), field)) for outcome in (ours, bare)]
            print(f"{f'{title}: {name}':<48}{cells[0]:>16}{cells[1]:>16}")
    print(f"{'PyTorchJobs a second':<40}{count / ours.seconds:>18.1f}{count / bare.seconds:>18.1f}")
    efforts = [outcome.processor_seconds / (count + ALONE) for outcome in (ours, bare)]
    print(f"{'processor seconds a job':<40}{efforts[0]:>18.3f}{efforts[1]:>18.3f}")
    print(f"{'peak memory, MiB':<40}{ours.memory:>18.0f}{bare.memory:>18.0f}")
    lives = count + ALONE + 1
    asked, written = sum(calls.values()) / lives, count_writes(calls) / lives
    print(f"calls for the whole life of a job: {asked:.1f}, of these {written:.1f} writes; a bare client makes 3")
    for what, number in sorted(calls.items(), key=lambda item: -item[1]):
        if number >= lives / 10:
            print(f"  {what:<44}{number / lives:>8.2f}")
    print(f"the training-operator, at {REQUESTS_PER_SECOND} requests a second: PyTorchJob to pods")
    print(f"  one by one {_show(ours.alone.to_pods)}, {count} at once {_show(ours.crowd.to_pods)}")
    print(
        f"  processor seconds a job {after_ours.processor_seconds / lives:.3f}, peak {after_ours.peak_memory:.0f} MiB"
    )


def _show(seconds: list[float]) -> str:
    parts = quantiles(seconds, n=100, method="inclusive")
    return f"{parts[49]:.2f} / {parts[98]:.2f}"


def main() -> None:
    """Runs it: `python -m tests.bench.lives`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    report(parser.parse_args().jobs)


if __name__ == "__main__":
    main()
