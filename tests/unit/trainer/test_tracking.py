"""What trackers are told, and what becomes of it when they are away."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from customizer_contract.errors import Reason
from customizer_trainer.tracking.feed import feed
from customizer_trainer.tracking.record import Values, describe, read_values
from customizer_trainer.tracking.tracker import Ending, TrackerUnavailableError
from customizer_trainer.training.events import Event, EventLog, EventReader, Failed, Stepped, Validated
from tests.unit.trainer.conftest import build_job

NUMBERS = {
    "train/loss": 2.5,
    "train/learning_rate": 0.01,
    "train/grad_norm": 1.5,
    "train/epoch": 0.5,
    "train/tokens_per_second": 100.0,
}


def stepped(step: int) -> Stepped:
    return Stepped(step=step, epoch=0.5, loss=2.5, gradient_norm=1.5, learning_rate=0.01, tokens_per_second=100.0)


@pytest.mark.parametrize(
    ("event", "every", "told"),
    [
        pytest.param(stepped(3), 1, Values(3, NUMBERS), id="a step"),
        pytest.param(stepped(3), 3, Values(3, NUMBERS), id="a step whose turn it is"),
        pytest.param(stepped(4), 3, None, id="a step whose turn it is not"),
        pytest.param(
            stepped(3).model_copy(update={"gradient_norm": None}),
            1,
            Values(3, {name: number for name, number in NUMBERS.items() if name != "train/grad_norm"}),
            id="a step without a gradient",
        ),
        pytest.param(Validated(step=4, loss=2.0), 3, Values(4, {"eval/loss": 2.0}), id="every validation"),
        pytest.param(Failed(rank=0, at=1.0, reason=Reason.CRASHED, message="no"), 1, None, id="nothing else"),
    ],
)
def test_what_is_told_of_an_event(event: Event, every: int, told: Values | None) -> None:
    assert read_values(event, every) == told


def test_a_run_is_named_and_tagged_after_its_job() -> None:
    job = build_job(automodel=None, unsloth={"schedule": {"loggingSteps": 5, "maxSteps": 9}}, artifactName="helper")
    record = describe(job)
    assert (record.identity, record.project, record.name, record.every_steps) == ("7c9e", "helper", "tickets", 5)
    assert record.tags == {
        "service": "customizer",
        "framework": "unsloth",
        "namespace": "demo",
        "job": "tickets",
        "task": "sft",
        "model": "s3://bucket/model",
    }
    assert record.settings["unsloth.schedule.maxSteps"] == "9"
    assert record.settings["dataset"] == "s3://bucket/data"


def test_a_distillation_is_tagged_as_one() -> None:
    teacher = {"source": {"kind": "s3", "uri": "s3://bucket/teacher"}}
    job = build_job(automodel={"training": {"trainingType": "distillation"}}, teacher=teacher)
    assert describe(job).tags["task"] == "distillation"
    assert describe(build_job()).tags["task"] == "sft"


class Patchy:
    """A tracker that is away a few times."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.told: list[Values] = []
        self.ending: Ending | None = None

    def send(self, values: Sequence[Values]) -> None:
        if self.away:
            self.away -= 1
            raise TrackerUnavailableError("no route\nto host")
        self.told += values

    def close(self, ending: Ending) -> None:
        self.ending = ending


@pytest.fixture
def ends() -> Iterator[tuple[IO[str], IO[str]]]:
    """The two ends of a pipe."""
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as writer:
        yield reader, writer


def test_a_tracker_that_was_away_is_told_all_of_it_later(tmp_path: Path, ends: tuple[IO[str], IO[str]]) -> None:
    for step in (1, 2):
        EventLog(tmp_path, 0).tell(stepped(step))
    EventLog(tmp_path, 1).tell(stepped(99))
    tracker = Patchy(away=3)

    class Ending(EventReader):
        """Lets the attempt end once the tracker has been told."""

        def news(self) -> Iterator[tuple[int, Event]]:
            if tracker.told:
                ends[1].write("KILLED\n")
                ends[1].flush()
            return super().news()

    assert feed(tracker, Ending(tmp_path), 1, ends[0], pause=0.01) is None
    assert [values.step for values in tracker.told] == [1, 2]
    assert tracker.ending == "KILLED"


def test_what_a_tracker_was_never_told_is_counted(tmp_path: Path, ends: tuple[IO[str], IO[str]]) -> None:
    EventLog(tmp_path, 0).tell(stepped(1))
    ends[1].write("FINISHED\n")
    ends[1].flush()
    assert feed(Patchy(away=9), EventReader(tmp_path), 1, ends[0]) == "1 values were not told: no route to host"


def test_a_trainer_that_is_gone_has_failed(tmp_path: Path, ends: tuple[IO[str], IO[str]]) -> None:
    ends[1].close()
    tracker = Patchy(away=0)
    assert feed(tracker, EventReader(tmp_path), 1, ends[0]) is None
    assert tracker.ending == "FAILED"
