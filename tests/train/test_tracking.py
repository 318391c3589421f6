"""Trackers are told of a training by their own libraries, and none of them can hold it up."""

import os
import socket
from pathlib import Path
from typing import Any

from customizer_contract.job import Job
from customizer_trainer.training.events import Event, EventLog, Stepped, Validated
from customizer_trainer.training.trackers import Trackers
from tests.cluster.settings import REPOSITORY
from tests.support.ports import free_port
from tests.train.harness import Storage, build_job
from tests.train.trackers import find_run, history

KEY = "0123456789abcdef0123456789abcdef01234567"
PATIENCE = 120.0


def step(number: int) -> Stepped:
    return Stepped(
        step=number, epoch=0.5, loss=10.0 - number, gradient_norm=1.0, learning_rate=0.01, tokens_per_second=100.0
    )


def asked(storage: Storage, name: str, integrations: dict[str, Any]) -> Job:
    return build_job(storage, name, data="s3://tests/data/pairs", backend="unsloth", integrations=integrations)


def attempt(
    job: Job, folder: Path, told: list[Event], ending: Any = "FINISHED", patience: float = PATIENCE, **environment: str
) -> list[str]:
    """Tells the trackers of a job what rank 0 tells of an attempt."""
    events = folder / "events"
    events.mkdir(parents=True)
    trackers = Trackers(job.integrations)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "trainer"), **environment}
    trackers.start(job, events, folder / "trackers", environment)
    log = EventLog(events, 0)
    for event in told:
        log.tell(event)
    return trackers.finish(ending, patience)


def test_the_attempts_of_a_job_are_one_run_of_mlflow(mlflow: str, storage: Storage, tmp_path: Path) -> None:
    options = {"experimentName": "tickets", "trackingUri": mlflow, "tags": {"team": "support"}, "description": "first"}
    job = asked(storage, "tracked", {"mlflow": options})
    first = [step(1), step(2), Validated(step=2, loss=7.5), step(3)]
    assert attempt(job, tmp_path / "1", first, "KILLED") == []
    assert find_run(mlflow, "tickets")["info"]["status"] == "KILLED"
    # Resumed from step 2.
    assert attempt(job, tmp_path / "2", [step(3), step(4), Validated(step=4, loss=5.5)]) == []
    run = find_run(mlflow, "tickets")
    assert (run["info"]["status"], run["info"]["run_name"]) == ("FINISHED", "tracked")
    assert history(mlflow, run, "train/loss") == {1: 9.0, 2: 8.0, 3: 7.0, 4: 6.0}
    assert history(mlflow, run, "eval/loss") == {2: 7.5, 4: 5.5}
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    wanted = {"service": "customizer", "framework": "unsloth", "job": "tracked", "team": "support"}
    assert wanted.items() <= tags.items()
    assert tags["mlflow.note.content"] == "first"
    settings = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert settings["unsloth.optimizer.optim"] == "adamw_8bit"


def test_wandb_without_a_network_writes_a_run_and_no_secret(storage: Storage, tmp_path: Path) -> None:
    options = {"project": "tickets", "tags": ["support"], "baseUrl": "http://127.0.0.1:1"}
    job = asked(storage, "offline", {"wandb": options})
    told = [step(1), step(2), Validated(step=2, loss=7.5)]
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}
    assert attempt(job, tmp_path / "1", told, **environment) == []
    folder = tmp_path / "1" / "trackers" / "wandb"
    (run,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = run.read_bytes()
    for words in (b"tickets", b"support", b"framework:unsloth", b"train/loss", b"eval/loss", b"uid-of-offline"):
        assert words in content, words
    files = [path for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_server_that_is_away_is_a_warning(storage: Storage, tmp_path: Path) -> None:
    job = asked(storage, "away", {"mlflow": {"trackingUri": f"http://127.0.0.1:{free_port()}"}})
    (warning,) = attempt(job, tmp_path / "1", [step(1), step(2)])
    assert warning.startswith("integrations.mlflow: 2 values were not told: ")


def test_a_tracker_that_does_not_answer_is_left_behind(storage: Storage, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        job = asked(storage, "silent", {"wandb": {"baseUrl": f"http://127.0.0.1:{silent.getsockname()[1]}"}})
        (warning,) = attempt(job, tmp_path / "1", [step(1)], patience=1.0, WANDB_API_KEY=KEY)
    assert warning == "integrations.wandb: it did not answer in time; the newest values may be missing."
