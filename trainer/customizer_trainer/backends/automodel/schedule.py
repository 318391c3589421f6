"""When to validate and when to save."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nemo_automodel.components.training.step_scheduler import StepScheduler, StepSchedulerConfig


class Schedule(StepScheduler):  # type: ignore[misc]
    """Validates every so often and at the end; saves then, every so often in between, and when told to stop.

    The library's own either validates whenever it saves, or saves steps that it has not validated.
    """

    @property
    def is_val_step(self) -> bool:
        """Tells whether to validate after this step: not when told to stop, since time is short then."""
        due = (self.step + 1) % self.val_every_steps == 0 or self.is_last_step
        return not self.sigterm_received and due

    @property
    def is_ckpt_step(self) -> bool:
        """Tells whether to save after this step."""
        return self.sigterm_received or self.is_val_step or (self.step + 1) % self.ckpt_every_steps == 0

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

    def build(self, dataloader: Any, dp_group_size: int, local_batch_size: int, process_group: Any = None) -> Schedule:
        """Builds the schedule."""
        return Schedule(
            **asdict(self),
            local_batch_size=local_batch_size,
            dp_size=dp_group_size,
            dataloader=dataloader,
            process_group=process_group,
        )
