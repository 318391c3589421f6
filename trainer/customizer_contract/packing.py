"""How large packs should be and how many of them make a step: the arithmetic that the plan and both backends share."""

from dataclasses import dataclass

from customizer_contract.base import Model


@dataclass(frozen=True, slots=True)
class PackEstimate:
    """What is expected of packing before anything is packed."""

    size: int
    """Tokens that a pack holds at most."""
    samples_per_pack: float
    """Samples in a full pack, on average."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch counted in packs."""

    packs_per_step: int
    """Packs an optimizer step sees, over all processes."""
    packs_per_micro_batch: int
    """Packs a process holds at once."""


class PackedTraining(Model):
    """How the training samples share sequences."""

    size: int
    """Tokens that a pack holds at most."""
    packs: int
    """Packs of an epoch."""
    packs_per_step: int
    """Packs an optimizer step sees, over all processes: as many tokens as globalBatchSize samples, on average."""
    packs_per_micro_batch: int
    """Packs a process holds at once."""


def estimate_packs(
    mean_length: float, longest: int, *, global_batch_size: int, gpus: int, max_seq_length: int
) -> PackEstimate:
    """Estimates the pack size as NeMo Customizer documents it, from the tokens of the samples that are trained.

    A pack takes what a GPU would see of a batch, at least the longest sample, and at most `max_seq_length`.
    """
    mean = max(2, _even_up(int(mean_length)))
    target = max(global_batch_size // gpus, 1)
    size = min(max(mean * target, _even_up(longest)), max_seq_length)
    return PackEstimate(size, max(1.0, round(size / mean, 2)))


def fit_batch(global_batch_size: int, micro_batch_size: int, *, replicas: int, samples_per_pack: float) -> PackedBatch:
    """Counts the packs that hold as many samples, so as many tokens, as a batch did, to the nearest that fits.

    A step takes the same number of micro batches on every replica. Where a micro batch of packs would be more than the
    batch, it gets smaller; where the batch is less than a pack on each replica, a step sees more than was asked.
    """
    packs = global_batch_size / samples_per_pack
    micro = max(1, min(micro_batch_size, int(packs / replicas)))
    unit = micro * replicas
    return PackedBatch(max(1, round(packs / unit)) * unit, micro)


def _even_up(tokens: int) -> int:
    return tokens + tokens % 2
