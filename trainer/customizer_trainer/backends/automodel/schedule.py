"""When to validate and when to save."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from nemo_automodel.components.training.step_scheduler import StepScheduler, StepSchedulerConfig


class Clock:
    """Whether the time between checkpoints is over, by the clock of rank 0: all ranks must save the same step."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()
        self._asked: tuple[int, bool] | None = None

    def is_due(self, step: int) -> bool:
        """Asks rank 0 once a step, all ranks together."""
        if self._asked is None or self._asked[0] != step:
            answer = [time.monotonic() - self._began >= self._seconds]
            if torch.distributed.is_initialized():
                torch.distributed.broadcast_object_list(answer, src=0)
            self._asked = step, answer[0]
        return self._asked[1]

    def restart(self) -> None:
        """Begins anew, when a checkpoint is saved."""
        self._began = time.monotonic()


class Schedule(StepScheduler):  # type: ignore[misc]
    """Validates every so often and at the end; saves then, every so often in between, and when told to stop.

    The library's own either validates whenever it saves, or saves steps that it has not validated.
    """

    def __init__(self, *, save_every_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._clock = Clock(save_every_seconds)
        self._wait = 0.0

    def __iter__(self) -> Iterator[Any]:
        """Yields the micro batches of each step, and measures how long they take to come."""
        steps = super().__iter__()
        while True:
            began = time.monotonic()
            batches = next(steps, None)
            self._wait += time.monotonic() - began
            if batches is None:
                return
            yield batches

    def take_wait(self) -> float:
        """Returns the seconds that the loop has waited for samples since this was asked last."""
        waited, self._wait = self._wait, 0.0
        return waited

    @property
    def is_val_step(self) -> bool:
        """Tells whether to validate after this step: not when told to stop, since time is short then."""
        due = (self.step + 1) % self.val_every_steps == 0 or self.is_last_step
        return not self.sigterm_received and due

    @property
    def is_ckpt_step(self) -> bool:
        """Tells whether to save after this step."""
        due = self._clock.is_due(self.step)
        saves = self.sigterm_received or self.is_val_step or (self.step + 1) % self.ckpt_every_steps == 0 or due
        if saves:
            self._clock.restart()
        return saves

    @property
    def epochs(self) -> Iterator[int]:
        """Yields the epochs to go. A signal between two epochs is heard after the next step, which is then saved."""
        for epoch in range(self.epoch, self.num_epochs):
            if self.step >= self.max_steps or self.sigterm_flag:
                return
            yield epoch


@dataclass
class ScheduleConfig(StepSchedulerConfig):  # type: ignore[misc]
    """The recipe's `step_scheduler` block, built as the schedule above."""

    save_every_seconds: float = math.inf

    def build(self, dataloader: Any, dp_group_size: int, local_batch_size: int, process_group: Any = None) -> Schedule:
        """Builds the schedule."""
        return Schedule(
            **asdict(self),
            local_batch_size=local_batch_size,
            dp_size=dp_group_size,
            dataloader=dataloader,
            process_group=process_group,
        )
