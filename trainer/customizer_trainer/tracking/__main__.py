"""Feeds one tracker until its standard input says how the attempt ended, or ends itself.

`python -m customizer_trainer.tracking wandb|mlflow JOB EVENTS FOLDER`
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from customizer_contract.job import Job
from customizer_trainer import logs
from customizer_trainer.tracking.feed import feed
from customizer_trainer.tracking.record import describe
from customizer_trainer.tracking.tracker import Tracker
from customizer_trainer.training.events import EventReader


def open_tracker(kind: str, job: Job, folder: Path) -> Tracker:
    """Returns the tracker that a job names."""
    asked, record = job.integrations, describe(job)
    if kind == "mlflow" and asked is not None and asked.mlflow is not None:
        from customizer_trainer.tracking.mlflow import MlflowTracker

        return MlflowTracker(asked.mlflow, record)
    if kind == "wandb" and asked is not None and asked.wandb is not None:
        from customizer_trainer.tracking.wandb import WandbTracker

        return WandbTracker(asked.wandb, record, folder)
    raise ValueError(f"the job does not name {kind}")


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Feeds a tracker; returns 1, with the reason as the only line on standard output, if it was not told all."""
    logs.log_as_json()
    kind, job_file, events, folder = arguments
    job = Job.model_validate_json(Path(job_file).read_text())
    tracker = open_tracker(kind, job, Path(folder))
    problem = feed(tracker, EventReader(Path(events)), describe(job).every_steps, sys.stdin)
    if problem is None:
        return 0
    print(logs.mask(problem, logs.find_secrets(environment)), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
