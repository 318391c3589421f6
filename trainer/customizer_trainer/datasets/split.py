"""Holding samples out for validation."""

import numpy as np
import numpy.typing as npt


def split(samples: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the numbers of the training and of the validation samples, each ascending; the same for the same seed.

    Validation gets its share, rounded down, but at least one sample.
    """
    held_out = min(samples, max(1, int(samples * share)))
    order = np.arange(samples, dtype=np.uint32)
    np.random.default_rng(seed).shuffle(order)
    is_held_out = np.zeros(samples, dtype=bool)
    is_held_out[order[:held_out]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
