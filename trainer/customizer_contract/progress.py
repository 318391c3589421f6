"""What rank 0 tells while it trains, at `GET /progress`."""

from datetime import datetime
from typing import Literal

from customizer_contract.base import Model

PROGRESS_PORT = 8080
"""Port of `/progress` and `/metrics` in the training pods."""


class Progress(Model):
    """The training as it stands."""

    phase: Literal["Starting", "Training", "Validating", "Checkpointing", "Publishing", "Done"]
    attempt: int
    step: int
    """Optimizer steps done, those of earlier attempts that were resumed included."""
    total_steps: int
    epoch: float
    train_loss: float | None = None
    """Mean loss a target token of the newest step, in nats."""
    validation_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    """Tokens a second over all GPUs, padding excluded."""
    resumed_from_step: int | None = None
    checkpoint_step: int | None = None
    """Step of the newest complete checkpoint in S3."""
    eta_seconds: float | None = None
    step_seconds: float | None = None
    """Median duration of the newest steps."""
    idle_seconds: float | None = None
    """Seconds since a rank told last of a step, a validation or a checkpoint, when this was asked for."""
    updated_at: datetime
