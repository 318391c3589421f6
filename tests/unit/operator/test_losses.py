"""What the end of an attempt cost."""

from datetime import timedelta

import pytest

from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.losses import add_losses
from tests.unit.operator.simulator import START


def attempt(number: int, begin: int, end: int | None, step: int | None, resumed: int | None = None) -> Attempt:
    """An attempt that ran from second `begin` to second `end`."""
    return Attempt(
        number=number,
        started_at=START + timedelta(seconds=begin),
        running_at=START + timedelta(seconds=begin) if step is not None else None,
        ended_at=None if end is None else START + timedelta(seconds=end),
        outcome=None if end is None else AttemptOutcome.FAILED,
        step=step,
        resumed_from_step=resumed,
    )


@pytest.mark.parametrize(
    ("attempts", "steps", "seconds"),
    [
        ([attempt(1, 0, 100, 50), attempt(2, 110, None, 40, 40)], [10, None], [30, None]),
        ([attempt(1, 0, 100, 50), attempt(2, 110, None, 0)], [50, None], [110, None]),
        ([attempt(1, 0, 100, 50), attempt(2, 110, None, 50, 50)], [0, None], [10, None]),
        ([attempt(1, 0, 100, 50), attempt(2, 110, None, None)], [None, None], [None, None]),
        (
            [attempt(1, 0, 100, 50), attempt(2, 110, 120, None), attempt(3, 150, None, 40, 40)],
            [10, 0, None],
            [40, 30, None],
        ),
        ([attempt(1, 0, 100, 50)], [None], [None]),
    ],
    ids=[
        "resumed from an older checkpoint",
        "began anew",
        "nothing but the pause",
        "the next one has not told yet",
        "the next one never ran",
        "the last one",
    ],
)
def test_lost_is_what_was_done_again_and_the_time_until_the_next_one_ran(
    attempts: list[Attempt], steps: list[int | None], seconds: list[int | None]
) -> None:
    told = add_losses(attempts)
    assert [item.lost_steps for item in told] == steps
    assert [item.lost_seconds for item in told] == seconds


def test_what_was_told_once_stays() -> None:
    told = add_losses([attempt(1, 0, 100, 50), attempt(2, 110, None, 40, 40)])
    assert add_losses(told) == told
