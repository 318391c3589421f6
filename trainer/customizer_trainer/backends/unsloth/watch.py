"""Watches a training step by step: when to validate, to save and to stop, and what the supervisor is told."""

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.training.events import EventLog, Saved, Saving, Started, Stepped, Validated
from customizer_trainer.training.memory import peak_bytes

_OVERFLOWS = 20
"""Steps in a row whose 16-bit gradients may overflow. Each halves their scale, which begins at 2 ** 16."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Decides after each step whether to validate, to save or to stop, and tells what happened."""

    def __init__(
        self, log: EventLog, *, validate_every: int, save_every: int, save_every_seconds: float, scales: bool
    ) -> None:
        """`scales`: whether gradients are scaled, so that some steps are tried in vain."""
        self.log = log
        self._patience = _OVERFLOWS if scales else 0
        self._overflows = 0
        self._validate_every = validate_every
        self._save_every = save_every
        self._save_every_seconds = save_every_seconds
        self._saved_at = time.monotonic()
        self._stopping = False
        self._tokens = 0
        self._wait = 0.0
        self._began = self._saving_at = 0.0
        self._train_loss = 0.0
        self._validated: Validated | None = None

    def stop(self) -> None:
        """Saves and ends after the step that runs."""
        self._stopping = True

    def count(self, tokens: int) -> None:
        """Counts tokens of the step that runs."""
        self._tokens += tokens

    def waited(self, seconds: float) -> None:
        """Counts how long samples took to come."""
        self._wait += seconds

    def saving(self, step: int) -> None:
        """Takes up that a checkpoint is being written."""
        self._saving_at = time.monotonic()
        self.log.tell(Saving(step=step))

    def validated(self, step: int, loss: float) -> None:
        """Takes up a validation. Raises TrainingDiverged when its loss is no number."""
        if not math.isfinite(loss):
            raise CustomizerError(Reason.TRAINING_DIVERGED, f"After step {step} the validation loss is {loss}.")
        self._validated = Validated(step=step, loss=loss)
        self.log.tell(self._validated)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that everything is loaded, and from which step it goes on."""
        self.log.tell(Started(pid=os.getpid(), step=state.global_step))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock of a step."""
        self._tokens, self._began = 0, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decides what follows the step: no validation when told to stop, since time is short then."""
        step, last = state.global_step, state.global_step >= state.max_steps
        control.should_evaluate = not self._stopping and (last or step % self._validate_every == 0)
        late = time.monotonic() - self._saved_at >= self._save_every_seconds
        control.should_save = self._stopping or control.should_evaluate or step % self._save_every == 0 or late
        control.should_training_stop = self._stopping or last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Tells a step. Raises TrainingDiverged when its numbers are none."""
        if "loss" not in logs:
            return
        loss, norm = logs["loss"], float(logs["grad_norm"])
        known = math.isfinite(norm)
        self._overflows = 0 if known else self._overflows + 1
        if not math.isfinite(loss) or self._overflows > self._patience:
            message = f"At step {state.global_step} the loss is {loss}, the norm of the gradient {norm}."
            raise CustomizerError(Reason.TRAINING_DIVERGED, message)
        self._train_loss = loss
        self.log.tell(
            Stepped(
                step=state.global_step,
                epoch=state.epoch,
                loss=loss,
                gradient_norm=norm if known else None,
                learning_rate=logs["learning_rate"],
                tokens_per_second=self._tokens / max(time.monotonic() - self._began, 1e-9),
                tokens=self._tokens,
                data_wait_seconds=self._wait,
                memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes(),
            )
        )
        self._wait = 0.0

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that a checkpoint is on the disk."""
        step, validated = state.global_step, self._validated
        self._saved_at = time.monotonic()
        self.log.tell(
            Saved(
                step=step,
                folder=Path(args.output_dir) / f"checkpoint-{step}",
                train_loss=self._train_loss,
                validation_loss=validated.loss if validated is not None and validated.step == step else None,
                seconds=self._saved_at - self._saving_at,
            )
        )
