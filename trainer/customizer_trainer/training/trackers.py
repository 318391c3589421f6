"""The processes that tell trackers of an attempt. Whatever becomes of them, the training goes on."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from customizer_contract.integrations import Integrations
from customizer_contract.job import Job
from customizer_trainer.logs import Relay
from customizer_trainer.tracking.tracker import Ending

log = logging.getLogger(__name__)

_KINDS = ("wandb", "mlflow")
_SECRETS = ("AWS_", "HF_")
"""Beginnings of variables that a tracker's library has no use for."""


class Trackers:
    """One process for each tracker that a job names."""

    def __init__(self, asked: Integrations | None) -> None:
        self._kinds = [] if asked is None else [kind for kind in _KINDS if getattr(asked, kind) is not None]
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, job: Job, events: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Starts them; they read what the ranks tell below `events`, and write below `folder`."""
        if not self._kinds:
            return
        folder.mkdir(parents=True)
        job_file = folder / "job.json"
        job_file.write_text(job.to_json())
        for kind in self._kinds:
            reading, writing = os.pipe()
            module = [sys.executable, "-P", "-m", "customizer_trainer.tracking"]
            self._running[kind] = subprocess.Popen(
                [*module, kind, str(job_file), str(events), str(folder / kind)],
                env={name: value for name, value in environment.items() if not name.startswith(_SECRETS)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=writing,
                text=True,
                start_new_session=True,
            )
            os.close(writing)
            Relay(os.fdopen(reading, errors="replace"), kind)

    def finish(self, ending: Ending, patience: float) -> list[str]:
        """Says how the attempt ended, waits until all is told, and returns what was not."""
        deadline = time.monotonic() + patience
        warnings = []
        for process in self._running.values():
            _say(process, ending)
        for kind, process in self._running.items():
            problem = _end(process, max(0.1, deadline - time.monotonic()))
            if problem is not None:
                log.warning("%s: %s", kind, problem)
                warnings.append(f"integrations.{kind}: {problem}")
        self._running.clear()
        return warnings


def _say(process: subprocess.Popen[str], ending: Ending) -> None:
    # One that has ended by itself is heard when it is waited for.
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.write(f"{ending}\n")
            process.stdin.flush()


def _end(process: subprocess.Popen[str], patience: float) -> str | None:
    try:
        told, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        # With what its library has started.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "it did not answer in time; the newest values may be missing."
    if process.returncode == 0:
        return None
    lines = told.strip().splitlines()
    return lines[-1] if process.returncode == 1 and lines else "its library failed; the pod's log says how."
