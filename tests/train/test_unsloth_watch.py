"""Which numbers of a step end an attempt of Unsloth, and which are told."""

import math
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.backends.unsloth.watch import Watch
from customizer_trainer.training.events import EventLog, EventReader, Stepped

INF, NAN = math.inf, math.nan


def log(folder: Path, losses: list[float], norms: list[float], *, scales: bool) -> list[float | None]:
    """Logs steps with these numbers as the library does, and returns the norms that were told."""
    watch = Watch(EventLog(folder, 0), validate_every=1, save_every=1, save_every_seconds=60, scales=scales)
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=1):
        state = TrainerState(global_step=step, epoch=0.5)
        watch.on_log(None, state, TrainerControl(), {"loss": loss, "grad_norm": norm, "learning_rate": 0.1})
    return [event.gradient_norm for _, event in EventReader(folder).news() if isinstance(event, Stepped)]


def test_gradients_that_are_scaled_may_overflow_for_some_steps(tmp_path: Path) -> None:
    norms = [INF, NAN, 2.0, *[INF] * 20, 1.0, *[INF] * 20]
    told = log(tmp_path, [3.0] * len(norms), norms, scales=True)
    assert told == [None, None, 2.0, *[None] * 20, 1.0, *[None] * 20]


@pytest.mark.parametrize(
    ("losses", "norms", "scales"),
    [
        pytest.param([3.0], [INF], False, id="a gradient that is not scaled"),
        pytest.param([3.0] * 21, [INF] * 21, True, id="gradients that overflow at any scale"),
        pytest.param([NAN], [1.0], True, id="a loss"),
    ],
)
def test_what_is_no_number_for_good_ends_the_attempt(
    losses: list[float], norms: list[float], scales: bool, tmp_path: Path
) -> None:
    with pytest.raises(CustomizerError, match=f"At step {len(losses)} the loss is") as raised:
        log(tmp_path, losses, norms, scales=scales)
    assert raised.value.reason is Reason.TRAINING_DIVERGED
    told = [event for _, event in EventReader(tmp_path).news() if isinstance(event, Stepped)]
    assert len(told) == len(losses) - 1
