import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customizer_trainer.training.events import (
    Ended,
    Event,
    EventLog,
    EventReader,
    Saved,
    Saving,
    Started,
    Stepped,
    Validated,
)
from customizer_trainer.training.state import Training

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stepped(step: int, loss: float = 1.0) -> Stepped:
    return Stepped(step=step, epoch=step / 4, loss=loss, gradient_norm=2.0, learning_rate=0.1, tokens_per_second=100.0)


def after(*events: Event, resumed_from: int | None = None) -> Training:
    training = Training.begin(attempt=1, total_steps=10, resumed_from=resumed_from, now=NOW)
    for seconds, event in enumerate(events):
        training = training.apply(event, NOW + timedelta(seconds=10 * seconds))
    return training


def test_before_anything_is_told_it_is_starting() -> None:
    progress = after().progress
    assert (progress.phase, progress.step, progress.total_steps) == ("Starting", 0, 10)


def test_a_resumed_training_starts_where_the_checkpoint_is() -> None:
    progress = after(resumed_from=4).progress
    assert (progress.step, progress.resumed_from_step, progress.checkpoint_step) == (4, 4, 4)


def test_the_rest_is_expected_to_take_as_long_a_step_as_the_steps_of_this_attempt() -> None:
    training = after(Started(pid=1, step=4), stepped(5), stepped(6), resumed_from=4)
    assert training.progress.eta_seconds == 10.0 * 4
    assert training.progress.epoch == 1.5


def test_phases_follow_what_the_ranks_do() -> None:
    saved = Saved(step=1, folder=Path("/c"), train_loss=1.0)
    phases = [
        after(*events).progress.phase
        for events in (
            [Started(pid=1, step=0)],
            [stepped(1), Validated(step=1, loss=2.0)],
            [stepped(1), Saving(step=1)],
            [stepped(1), Saving(step=1), saved],
        )
    ]
    assert phases == ["Training", "Validating", "Checkpointing", "Training"]


def test_nodes_that_hear_of_checkpoints_only_know_their_step_and_losses() -> None:
    facts = after(Started(pid=1, step=0), Saved(step=6, folder=Path("/c"), train_loss=1.5)).facts()
    assert (facts.step, facts.train_loss, facts.validation_loss) == (6, 1.5, None)


def test_a_checkpoint_counts_when_it_is_complete_not_when_it_is_saved() -> None:
    training = after(Started(pid=1, step=0), Saved(step=6, folder=Path("/c"), train_loss=1.5))
    assert training.progress.checkpoint_step is None
    assert training.checkpointed(6, NOW).progress.checkpoint_step == 6


def test_events_are_read_once_and_only_when_whole(tmp_path: Path) -> None:
    reader, log = EventReader(tmp_path), EventLog(tmp_path, rank=3)
    assert list(reader.news()) == []
    log.tell(stepped(1))
    assert list(reader.news()) == [(3, stepped(1))]
    log.tell(stepped(2))
    with (tmp_path / "rank-3.jsonl").open("a") as stream:
        stream.write('{"kind": "ste')
    assert list(reader.news()) == [(3, stepped(2))]
    assert list(reader.news()) == []


def test_the_duration_of_a_step_is_the_median_so_that_a_validation_in_between_does_not_count() -> None:
    training = Training.begin(attempt=1, total_steps=10, resumed_from=None, now=NOW)
    for step, seconds in enumerate((100, 102, 104, 300, 302), start=1):
        training = training.apply(stepped(step), NOW + timedelta(seconds=seconds))
    assert training.progress.step_seconds == 2.0


def test_idle_counts_from_what_a_rank_told_last_not_from_an_upload() -> None:
    training = after(stepped(1), stepped(2)).checkpointed(1, NOW + timedelta(seconds=60))
    assert training.idle(NOW + timedelta(seconds=70)) == 60.0
    assert after().idle(NOW) is None


def test_an_event_that_a_full_disk_takes_in_part_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, log = EventReader(tmp_path), EventLog(tmp_path, rank=0)
    log.tell(Ended(step=1))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:9]))
        with pytest.raises(OSError, match="No space left"):
            log.tell(Ended(step=2))
    log.tell(Ended(step=3))
    assert [event for _, event in reader.news()] == [Ended(step=1), Ended(step=3)]
