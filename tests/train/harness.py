"""Runs the trainer's commands as a pod would: one process, a job file, a disk of its own, a termination message."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customizer_contract.job import Job
from customizer_contract.result import Result
from customizer_trainer.training.events import Event, EventReader, Saved, Started, Stepped, Validated
from tests.cluster.settings import REPOSITORY

LIMIT_SECONDS = 600

IO_PYTHON = os.environ.get("CUSTOMIZER_TEST_IO_PYTHON", sys.executable)
"""Runs what the io image runs; without torch it starts in a third of the time, as there."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A running S3 server."""

    endpoint: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The credentials, as a Secret gives them to a container."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command has ended."""

    code: int
    result: Result
    log: str


@dataclass(slots=True)
class Pod:
    """A disk, and the commands that run on it one after the other."""

    disk: Path
    job: Job
    storage: Storage
    environment: dict[str, str] = field(default_factory=dict)
    job_file: str | None = None
    """The job file's text, if it shall not be that of `job`."""

    def run(self, command: str, *arguments: str) -> Outcome:
        """Runs a command to its end."""
        return self.start(command, *arguments).wait()

    def start(self, command: str, *arguments: str) -> "Running":
        """Starts a command."""
        self.disk.mkdir(parents=True, exist_ok=True)
        job_file = self.disk / "job.json"
        job_file.write_text(self.job_file or self.job.to_json())
        message, log = self.disk / f"{command}.termination", self.disk / f"{command}.log"
        message.unlink(missing_ok=True)
        # All of a job at once is for people, who call its end a result.
        report = "--result" if command == "run" else "--termination-message"
        where = ["--job", job_file, "--workspace", self.disk / "workspace", report, message]
        python = sys.executable if command in {"train", "run"} else IO_PYTHON
        with log.open("w") as stream:
            process = subprocess.Popen(
                [python, "-P", "-m", "customizer_trainer", command, *where, *arguments],
                env={
                    **os.environ,
                    "PYTHONPATH": f"{REPOSITORY / 'trainer'}:{REPOSITORY / 'tests' / 'untraced'}",
                    "OMP_NUM_THREADS": "1",
                    "HF_HUB_OFFLINE": "1",
                    **self.storage.environment,
                    **self.environment,
                },
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        return Running(process, message, log)

    def steps(self, attempt: int) -> dict[int, Stepped]:
        """Returns what rank 0 told of each step of an attempt."""
        return {event.step: event for event in self._events(attempt) if isinstance(event, Stepped)}

    def losses(self, attempt: int) -> dict[int, float]:
        """Returns the loss of each step of an attempt that rank 0 told of."""
        return {step: event.loss for step, event in self.steps(attempt).items()}

    def validations(self, attempt: int) -> dict[int, Validated]:
        """Returns what rank 0 told of each validation of an attempt, by step."""
        return {event.step: event for event in self._events(attempt) if isinstance(event, Validated)}

    def saved(self, attempt: int) -> dict[int, Saved]:
        """Returns what was told of each checkpoint of an attempt, by step."""
        return {event.step: event for event in self._events(attempt) if isinstance(event, Saved)}

    def rank_pids(self, attempt: int) -> list[int]:
        """Returns the processes of the ranks of an attempt that have begun to train."""
        return [event.pid for event in self._events(attempt) if isinstance(event, Started)]

    def _events(self, attempt: int) -> list[Event]:
        found = (self.disk / "workspace").glob(f"**/attempt-{attempt}/events")
        return [event for folder in found for _, event in EventReader(folder).news()]


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs."""

    process: subprocess.Popen[bytes]
    message: Path
    log: Path

    def wait(self) -> Outcome:
        """Waits for the end."""
        code = self.process.wait(LIMIT_SECONDS)
        text = self.message.read_text() if self.message.exists() else '{"command": "train"}'
        return Outcome(code, Result.model_validate_json(text), self.log.read_text())

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits until something has come about while the command runs."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


@contextlib.contextmanager
def slowed(pod: Pod, attempt: int) -> Iterator[None]:
    """Lets the ranks of a pod, once they train, run a small part of the time.

    The steps of a tiny model take milliseconds, so what shall happen in the middle of a training would come too late.
    """
    over = threading.Event()

    def hold_back() -> None:
        while not over.wait(0.02):
            for held, pause in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.0)):
                for pid in pod.rank_pids(attempt):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, held)
                over.wait(pause)

    thread = threading.Thread(target=hold_back)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def build_job(
    storage: Storage,
    name: str,
    *,
    data: str,
    device: str = "cpu",
    checkpoint_every: int | None = None,
    checkpoint_minutes: float | None = None,
    backend: str = "automodel",
    integrations: dict[str, Any] | None = None,
    teacher: dict[str, Any] | None = None,
    template: str | None = None,
    **blocks: Any,
) -> Job:
    """Builds a job file over the tiny model; the backend's blocks are given with the wire's names."""
    return Job.model_validate_json(
        json.dumps(
            {
                "name": name,
                "namespace": "tests",
                "uid": f"uid-of-{name}",
                "specHash": "0" * 64,
                "device": device,
                "model": {"source": {"kind": "s3", "uri": "s3://tests/models/tiny"}},
                "teacher": teacher,
                "dataset": {"training": {"kind": "s3", "uri": data}, "promptTemplate": template},
                "checkpoints": {
                    **({"everySteps": checkpoint_every} if checkpoint_every else {}),
                    **({"everyMinutes": checkpoint_minutes} if checkpoint_minutes else {}),
                },
                backend: blocks,
                "integrations": integrations,
                "storage": {"endpointUrl": storage.endpoint},
                "artifactName": name,
                "artifactUri": f"s3://tests/out/{name}",
            }
        )
    )
