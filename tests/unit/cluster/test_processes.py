"""Which processes count as the cluster's own, and that no other is ended."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import processes
from tests.cluster.console import wait_until


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "STATE", tmp_path)
    monkeypatch.setattr(processes, "_LOGS", tmp_path / "logs")
    yield
    processes.stop_all()


def test_a_program_runs_until_it_is_stopped() -> None:
    assert not processes.is_running("sleeper")
    processes.start("sleeper", "sleep", "60")
    assert processes.is_running("sleeper")
    processes.stop("sleeper")
    assert not processes.is_running("sleeper")


def test_a_program_that_runs_is_not_started_again() -> None:
    for _ in range(2):
        processes.start("sleeper", "sleep", "60")
    assert len(processes.family()) == 1


def test_a_program_that_ignores_the_request_is_killed() -> None:
    processes.start("deaf", "sh", "-c", "trap '' TERM; while true; do sleep 1; done")
    processes.stop("deaf", grace=0.3)
    assert not processes.is_running("deaf")


def test_children_that_outlive_their_parent_are_found() -> None:
    processes.start("parent", "sh", "-c", "sleep 60 & exit 0")
    wait_until("the parent to end", lambda: not processes.is_running("parent"), timeout=10)
    assert processes.family()
    processes.stop_all()
    assert not processes.family()


@pytest.mark.parametrize("name", ["", "other", "sleeper2"])
def test_a_process_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    environment = {**os.environ, "CUSTOMIZER_CLUSTER_PROCESS": f"{tmp_path}-2:{name}"}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as stranger:
        processes.stop("sleeper", "other")
        processes.stop_all()
        assert stranger.poll() is None
        stranger.kill()


def test_waiting_for_a_program_that_died_tells_the_end_of_its_log() -> None:
    processes.start("broken", "sh", "-c", "echo no such file >&2; exit 3")
    with pytest.raises(processes.ProcessDiedError, match="no such file"):
        wait_until("it to answer", processes.require("broken", lambda: False), timeout=5)
