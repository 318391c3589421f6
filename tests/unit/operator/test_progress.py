"""Progress as people read it."""

import pytest

from customizer_contract.result import TrainingFacts
from customizer_operator.api.customization_job_status import JobProgress
from customizer_operator.plan.progress import finish_progress, parse_progress, show_duration, show_progress
from tests.unit.operator.simulator import START


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (45, "45s"), (119.6, "2m"), (720, "12m"), (7200, "2h"), (12000, "3h20m"), (187200, "2d4h"), (-5, "0s")],
)
def test_durations_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@pytest.mark.parametrize("answer", [None, {}, {"phase": "Dreaming"}, [], "text"])
def test_an_answer_that_makes_no_sense_is_no_answer(answer: object) -> None:
    assert parse_progress(answer) is None


def _shown() -> JobProgress:
    told = parse_progress(
        {"phase": "Training", "attempt": 1, "step": 5, "totalSteps": 8, "epoch": 0.62541, "trainLoss": 1.23456,
         "etaSeconds": 30, "updatedAt": START.isoformat(), "aNewField": 1}
    )  # fmt: skip
    assert told is not None
    return show_progress(told)


def test_what_a_newer_trainer_adds_is_ignored() -> None:
    shown = _shown()
    assert (shown.steps, shown.percent, shown.loss, shown.epoch, shown.eta) == ("5/8", 62, "1.235", 0.625, "30s")


def test_the_end_of_an_attempt_corrects_what_was_seen_last() -> None:
    facts = TrainingFacts(step=8, total_steps=8, train_loss=0.5)
    done = finish_progress(_shown(), facts, steps_per_epoch=4, now=START)
    assert (done.phase, done.steps, done.percent, done.loss, done.eta) == ("Done", "8/8", 100, "0.500", None)
    assert done.epoch == 2.0


def test_an_attempt_that_ended_before_it_was_asked_shows_its_end() -> None:
    facts = TrainingFacts(step=6, total_steps=8, train_loss=0.5, checkpoint_step=6)
    shown = finish_progress(None, facts, steps_per_epoch=None, now=START)
    assert (shown.phase, shown.steps, shown.percent, shown.loss) == ("Starting", "6/8", 75, "0.500")
    assert (shown.checkpoint_step, shown.updated_at) == (6, START)
