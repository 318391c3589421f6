"""What is told of samples: how long they are, what they lost, how they would pack."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from customizer_contract.packing import estimate_packs
from customizer_contract.result import Lengths, PackingFacts, SplitFacts
from customizer_trainer.datasets.packing import count_packs

Counts = npt.NDArray[np.int64]
"""How many samples have each length, by length."""

PERCENTILES = (1, 5, 25, 50, 75, 90, 95, 99)


@dataclass(slots=True)
class Measured:
    """Counts over the samples of a split."""

    lengths: Counts = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    """As trained."""
    before: Counts = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    """As they were."""
    truncated: int = 0

    def add(self, measures: npt.NDArray[np.void]) -> None:
        """Counts more samples."""
        self.lengths = _sum(self.lengths, np.bincount(measures["length"]))
        self.before = _sum(self.before, np.bincount(measures["before"]))
        self.truncated += int((measures["length"] < measures["before"]).sum())


@dataclass(frozen=True, slots=True)
class Batching:
    """How many samples a training sees at once, which decides what packing brings."""

    global_batch_size: int = 1
    micro_batch_size: int = 1
    gpus: int = 1


def measure(chunks: Iterator[npt.NDArray[np.void]], is_validation: npt.NDArray[np.bool_]) -> tuple[Measured, Measured]:
    """Measures the training and the validation samples."""
    training, validation = Measured(), Measured()
    start = 0
    for chunk in chunks:
        held_out = is_validation[start : start + len(chunk)]
        training.add(chunk[~held_out])
        validation.add(chunk[held_out])
        start += len(chunk)
    return training, validation


def describe(measured: Measured, dropped: int, duplicates: int) -> SplitFacts:
    """Returns the facts of a split that has samples."""
    before = measured.before
    p50, p95, p99 = (percentile(before, share) for share in (50, 95, 99))
    return SplitFacts(
        samples=int(before.sum()),
        tokens=_total(measured.lengths),
        lengths=Lengths(
            mean=round(_total(before) / int(before.sum()), 1), p50=p50, p95=p95, p99=p99, max=len(before) - 1
        ),
        truncated=measured.truncated,
        dropped=dropped,
        duplicates=duplicates,
    )


def describe_packing(lengths: Counts, batching: Batching, max_length: int) -> PackingFacts:
    """Returns what packing the samples would bring."""
    samples, tokens = int(lengths.sum()), _total(lengths)
    estimate = estimate_packs(
        tokens / samples,
        len(lengths) - 1,
        global_batch_size=batching.global_batch_size,
        gpus=batching.gpus,
        max_seq_length=max_length,
    )
    by_length = {int(length): int(lengths[length]) for length in np.flatnonzero(lengths)}
    packs = count_packs(by_length, estimate.size)
    return PackingFacts(
        size=estimate.size,
        packs=packs,
        samples_per_pack=round(samples / packs, 2),
        fill=round(tokens / (packs * estimate.size), 4),
        padding_without=round(1 - tokens / (samples * _expected_longest(lengths, batching.micro_batch_size)), 4),
    )


def percentile(counts: Counts, share: float) -> int:
    """Returns the least length that at least `share` percent of the samples do not exceed."""
    return int(np.searchsorted(np.cumsum(counts), share / 100 * counts.sum()))


def _expected_longest(lengths: Counts, samples: int) -> float:
    """Returns the expected length of the longest of so many samples drawn at random: what all of them are padded to."""
    shares = np.cumsum(lengths) / lengths.sum()
    return float((1 - shares**samples).sum())


def _total(counts: Counts) -> int:
    return int((counts * np.arange(len(counts))).sum())


def _sum(left: Counts, right: Counts) -> Counts:
    if len(left) < len(right):
        left, right = right, left
    total = left.astype(np.int64)
    total[: len(right)] += right
    return total
