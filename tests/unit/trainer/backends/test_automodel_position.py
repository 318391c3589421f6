"""Ranks that are more or fewer than those that saved go on at the same sample."""

from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.backends.automodel.position import share_anew


def build_position(samples: int, batch_size: int) -> dict[str, Any]:
    """Builds what a rank's loader saves after so many samples."""
    return {
        "_sampler_iter_state": {"samples_yielded": samples, "sampler_state": {"yielded": samples}},
        "_sampler_iter_yielded": samples // batch_size,
        "_num_yielded": samples // batch_size,
        "_iterator_finished": False,
    }


@pytest.mark.parametrize(("before", "after", "samples"), [(1, 2, 12), (2, 1, 48), (2, 2, 24), (3, 4, 18), (4, 8, 12)])
def test_each_has_done_its_share_of_what_is_done(before: int, after: int, samples: int) -> None:
    assert share_anew(build_position(24, 2), before, after, 2) == build_position(samples, 2)


def test_other_batches_are_counted_anew() -> None:
    assert share_anew(build_position(24, 2), 1, 1, 4) == build_position(24, 4)


@pytest.mark.parametrize(("after", "batch_size"), [(5, 1), (2, 8)])
def test_what_cannot_be_shared_is_refused(after: int, batch_size: int) -> None:
    with pytest.raises(CustomizerError) as raised:
        share_anew(build_position(24, 2), 1, after, batch_size)
    assert raised.value.reason is Reason.CHECKPOINT_MISMATCH
