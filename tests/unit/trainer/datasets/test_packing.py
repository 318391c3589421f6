"""Pack size, batches of packs, and which samples share one."""

import numpy as np
import pytest

from customizer_contract.packing import PackedBatch, PackEstimate, estimate_packs, fit_batch
from customizer_trainer.datasets.packing import count_packs, pack

ESTIMATES = {
    "NeMo's example: four samples a GPU": (512.9, 1024, 32, 8, 4096, PackEstimate(2048, 4.0)),
    "odd lengths are rounded up to even ones": (99.5, 301, 1, 1, 4096, PackEstimate(302, 3.02)),
    "a pack holds the longest sample": (100, 3000, 8, 8, 4096, PackEstimate(3000, 30.0)),
    "a pack is no longer than maxSeqLength": (512, 2048, 64, 1, 2048, PackEstimate(2048, 4.0)),
    "fewer samples than GPUs are one sample a pack": (512, 512, 4, 8, 2048, PackEstimate(512, 1.0)),
    "samples of one token": (1, 1, 8, 1, 2048, PackEstimate(16, 8.0)),
}


@pytest.mark.parametrize(("mean", "longest", "batch", "gpus", "cap", "expected"), ESTIMATES.values(), ids=ESTIMATES)
def test_the_pack_size(mean: float, longest: int, batch: int, gpus: int, cap: int, expected: PackEstimate) -> None:
    assert estimate_packs(mean, longest, global_batch_size=batch, gpus=gpus, max_seq_length=cap) == expected


BATCHES = {
    "as many tokens as before": (32, 1, 8, 4.0, PackedBatch(8, 1)),
    "to the nearest number that all replicas share": (64, 1, 4, 5.1, PackedBatch(12, 1)),
    "micro batches stay where they fit": (64, 2, 4, 4.0, PackedBatch(16, 2)),
    "a micro batch is never more than the batch": (32, 4, 4, 4.0, PackedBatch(8, 2)),
    "at least one pack a replica": (8, 1, 8, 4.0, PackedBatch(8, 1)),
    "one sample a pack changes nothing": (32, 2, 4, 1.0, PackedBatch(32, 2)),
}


@pytest.mark.parametrize(("batch", "micro", "replicas", "samples", "expected"), BATCHES.values(), ids=BATCHES)
def test_a_batch_of_packs(batch: int, micro: int, replicas: int, samples: float, expected: PackedBatch) -> None:
    assert fit_batch(batch, micro, replicas=replicas, samples_per_pack=samples) == expected


PACKS: dict[str, tuple[list[int], int, list[list[int]]]] = {
    "a sample goes where it leaves the least room": ([6, 5, 4, 5], 10, [[0, 2], [1, 3]]),
    "equal lengths fill a pack one after the other": ([3, 3, 3, 3], 9, [[0, 1, 2], [3]]),
    "a full sample is alone": ([8, 2, 6], 8, [[0], [2, 1]]),
    "nothing is nothing": ([], 8, []),
}


@pytest.mark.parametrize(("lengths", "size", "expected"), PACKS.values(), ids=PACKS)
def test_which_samples_share_a_pack(lengths: list[int], size: int, expected: list[list[int]]) -> None:
    assert sorted(pack(np.array(lengths, dtype=np.int64), size)) == sorted(expected)


def test_a_sample_that_is_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample of 9 tokens does not fit into a pack of 8"):
        pack(np.array([9, 1]), 8)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.2])
def test_a_realistic_mix_fills_95_percent_and_every_sample_is_in_one_pack(sigma: float) -> None:
    lengths = np.clip(np.random.default_rng(1).lognormal(5.5, sigma, 20_000), 8, 2048).astype(np.int64)
    packs = pack(lengths, 2048)
    assert sorted(number for numbers in packs for number in numbers) == list(range(len(lengths)))
    assert all(lengths[numbers].sum() <= 2048 for numbers in packs)
    assert lengths.sum() / (2048 * len(packs)) >= 0.95
    distinct, counts = np.unique(lengths, return_counts=True)
    assert count_packs(dict(zip(distinct.tolist(), counts.tolist(), strict=True)), 2048) == len(packs)


def brute_force(lengths: list[int], size: int) -> int:
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        room = min(fitting, default=size)
        if fitting:
            rooms.remove(room)
        rooms.append(room - length)
    return len(rooms)


def test_packing_lengths_is_packing_samples_one_by_one() -> None:
    chance = np.random.default_rng(2)
    for _ in range(50):
        size = int(chance.integers(5, 60))
        lengths = chance.integers(1, size + 1, int(chance.integers(1, 80)))
        assert len(pack(lengths, size)) == brute_force(lengths.tolist(), size)
