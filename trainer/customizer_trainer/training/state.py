"""The training as it stands, from what the ranks told: pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from customizer_contract.progress import Progress
from customizer_contract.result import TrainingFacts
from customizer_trainer.training.events import (
    Ended,
    Event,
    Failed,
    Saved,
    Saving,
    Started,
    Stepped,
    Validated,
)

_NEWEST_STEPS = 32
"""Steps whose median counts."""


@dataclass(frozen=True, slots=True)
class Training:
    """Progress, and what is needed to tell how long the rest will take."""

    progress: Progress
    gradient_norm: float | None = None
    started_at: datetime | None = None
    started_step: int = 0
    moved_at: datetime | None = None
    """When a rank told something last."""
    stepped_at: datetime | None = None
    durations: tuple[float, ...] = ()
    """Seconds between the newest steps."""
    tokens: int = 0
    """Of all steps of this attempt."""
    data_wait_seconds: float = 0.0
    """Of all steps of this attempt."""
    memory_bytes: int | None = None
    saves: int = 0
    """Checkpoints that this attempt has written to the disk."""
    save_seconds: float = 0.0
    """How long training stood still for them."""

    @classmethod
    def begin(cls, attempt: int, total_steps: int, resumed_from: int | None, now: datetime) -> "Training":
        """Returns the state before anything has been told."""
        return cls(
            Progress(
                phase="Starting",
                attempt=attempt,
                step=resumed_from or 0,
                total_steps=total_steps,
                epoch=0.0,
                resumed_from_step=resumed_from,
                checkpoint_step=resumed_from,
                updated_at=now,
            )
        )

    def apply(self, event: Event, now: datetime) -> "Training":
        """Returns the state after an event."""
        return replace(self._apply(event, now), moved_at=now)

    def idle(self, now: datetime) -> float | None:
        """Returns the seconds since a rank told something."""
        return None if self.moved_at is None else round((now - self.moved_at).total_seconds(), 1)

    def _apply(self, event: Event, now: datetime) -> "Training":
        match event:
            case Started():
                return replace(self._tell(now, phase="Training"), started_at=now, started_step=event.step)
            case Stepped():
                durations = self._measure_step(now)
                told = self._tell(
                    now,
                    phase="Training",
                    step_seconds=round(median(durations), 3) if durations else None,
                    step=event.step,
                    epoch=event.epoch,
                    train_loss=event.loss,
                    learning_rate=event.learning_rate,
                    tokens_per_second=event.tokens_per_second,
                    eta_seconds=self._eta(event.step, now),
                )
                return replace(
                    told,
                    gradient_norm=event.gradient_norm,
                    stepped_at=now,
                    durations=durations,
                    tokens=self.tokens + event.tokens,
                    data_wait_seconds=self.data_wait_seconds + event.data_wait_seconds,
                    memory_bytes=event.memory_bytes,
                )
            case Validated():
                return self._tell(now, phase="Validating", validation_loss=event.loss)
            case Saving():
                return self._tell(now, phase="Checkpointing")
            case Saved():
                # All that other nodes than the first get to know.
                losses = {"train_loss": event.train_loss, "validation_loss": event.validation_loss}
                known = {name: loss for name, loss in losses.items() if loss is not None}
                told = self._tell(now, phase="Training", step=event.step, **known)
                return replace(told, saves=self.saves + 1, save_seconds=self.save_seconds + event.seconds)
            case Failed() | Ended():
                return self

    def checkpointed(self, step: int, now: datetime) -> "Training":
        """Returns the state after a checkpoint has become complete in S3."""
        return self._tell(now, checkpoint_step=step)

    def publishing(self, now: datetime) -> "Training":
        """Returns the state while the artifact is put together and uploaded."""
        return self._tell(now, phase="Publishing", step=self.progress.total_steps, eta_seconds=None)

    def facts(self) -> TrainingFacts:
        """Returns what the attempt has reached, for its result."""
        progress = self.progress
        return TrainingFacts(
            step=progress.step,
            total_steps=progress.total_steps,
            train_loss=progress.train_loss,
            validation_loss=progress.validation_loss,
            resumed_from_step=progress.resumed_from_step,
            checkpoint_step=progress.checkpoint_step,
        )

    def _tell(self, now: datetime, **changes: object) -> "Training":
        return replace(self, progress=self.progress.model_copy(update={**changes, "updated_at": now}))

    def _measure_step(self, now: datetime) -> tuple[float, ...]:
        if self.stepped_at is None:
            return ()
        return (*self.durations, (now - self.stepped_at).total_seconds())[-_NEWEST_STEPS:]

    def _eta(self, step: int, now: datetime) -> float | None:
        if self.started_at is None or step <= self.started_step:
            return None
        seconds = (now - self.started_at).total_seconds() / (step - self.started_step)
        return round(seconds * (self.progress.total_steps - step), 1)
