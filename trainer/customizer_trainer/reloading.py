"""Whether what will be published does what was trained: it is loaded again, and its loss compared with the trainer's.

The backend's libraries are left to a process of its own, so that their memory is free again when it has ended.
"""

import json
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer import starting
from customizer_trainer.logs import run_relayed

_ROWS = 24
_SURE = 4.0
"""Standard errors of the mean, beyond which rows that were picked do not differ by chance."""
_LEAST = 0.02
_SHARE, _SHARE_QUANTIZED = 0.05, 0.3
"""What data types may change, of the loss; an adapter trained beside 4 or 8 bits is loaded beside all of them."""


class Row(Model):
    """A row that was computed."""

    loss: float = Field(allow_inf_nan=True)
    """Mean over its tokens, in nats."""
    tokens: int


class Reloaded(Model):
    """What the process tells."""

    rows: list[Row] = Field(default_factory=list)
    all_rows: bool = False
    """Whether these are all of the validation rows, rather than some."""
    skipped: str | None = None
    """Why the result was not loaded."""


def pick_rows(indices: Sequence[int]) -> list[int]:
    """Picks rows from all over the validation data, always the same."""
    step = max(1, math.ceil(len(indices) / _ROWS))
    return list(indices[::step])


def judge(reloaded: Reloaded, expected: float | None, *, quantized: bool) -> float:
    """Returns the loss of the rows. Raises ResultMismatch when it is not the one that the training measured."""
    tokens = sum(row.tokens for row in reloaded.rows)
    loss = sum(row.loss * row.tokens for row in reloaded.rows) / max(1, tokens)
    if not math.isfinite(loss):
        raise CustomizerError(Reason.RESULT_MISMATCH, f"Loaded again, the result has a loss of {loss}.")
    if expected is None:
        return loss
    share = _SHARE_QUANTIZED if quantized else _SHARE
    chance = 0.0 if reloaded.all_rows else _SURE * _standard_error(reloaded.rows, loss, tokens)
    if abs(loss - expected) > _LEAST + share * expected + chance:
        message = f"Loaded again, the result has a validation loss of {loss:.4f}; the training measured {expected:.4f}."
        raise CustomizerError(Reason.RESULT_MISMATCH, message)
    return loss


def _standard_error(rows: Sequence[Row], mean: float, tokens: int) -> float:
    count = len(rows)
    if count < 2:
        return math.inf
    spread = sum((row.tokens / tokens * (row.loss - mean)) ** 2 for row in rows)
    return math.sqrt(spread * count / (count - 1))


def reload(job: Job, artifact: Path, base: Path | None, samples: Path, target: Path) -> Reloaded:
    """Loads the result in a process of its own. Raises ResultMismatch when it cannot be loaded."""
    command = starting.build_command("customizer_trainer.backends.reload", str(artifact), str(samples), str(target))
    options = ["--device", job.device, *(["--base", str(base)] if base else [])]
    rope = job.outline.rope
    if base is not None and rope is not None:
        # A model says by itself how its positions are scaled; an adapter's base must be told.
        options += ["--rope-scaling", rope.model_dump_json(exclude_none=True)]
    trust = ["--trust-remote-code"] if job.model.trust_remote_code else []
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    code, last = run_relayed([*command, *options, *trust], environment, "reload")
    if code == -signal.SIGKILL:
        # Most likely by the kernel, for its memory, which says nothing of the result.
        return Reloaded(skipped="the process that did so was killed")
    if code < 0:
        raise CustomizerError(Reason.CRASHED, f"Loading the result again was ended by signal {-code}.")
    if code != 0:
        last = last or "no reason was given"
        raise CustomizerError(Reason.RESULT_MISMATCH, f"The result cannot be loaded again: {last}.")
    return Reloaded.model_validate(json.loads(target.read_text()))
