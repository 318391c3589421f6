"""How samples become optimizer steps. Both sides need the answer: the plan shows it, the trainer obeys it."""

import math
from dataclasses import dataclass

from customizer_contract.outline import Outline
from customizer_contract.packing import PackedTraining


@dataclass(frozen=True, slots=True)
class Steps:
    """Optimizer steps of a training; every number is at least 1, warm-up excepted."""

    per_epoch: int
    total: int
    warmup: int
    validate_every: int


def data_parallel_size(outline: Outline) -> int:
    """Counts the replicas that see different samples."""
    return outline.world_size // outline.model_parallel_size


def gradient_accumulation_steps(outline: Outline, packing: PackedTraining | None = None) -> int:
    """Counts the micro batches that a GPU works through before each optimizer step."""
    if packing is not None:
        return packing.packs_per_step // (packing.packs_per_micro_batch * data_parallel_size(outline))
    return outline.global_batch_size // (outline.micro_batch_size * data_parallel_size(outline))


def count_steps(outline: Outline, training_samples: int, packing: PackedTraining | None = None) -> Steps:
    """Counts the steps of a training over `training_samples` samples, packed or not.

    The last batch of an epoch may be short. Warm-up stays below the total, and validation runs at least once before
    the end when there is more than one step.
    """
    if packing is None:
        per_epoch = max(1, math.ceil(training_samples / outline.global_batch_size))
    else:
        per_epoch = max(1, math.ceil(packing.packs / packing.packs_per_step))
    total = per_epoch * outline.epochs
    if outline.max_steps is not None:
        total = outline.max_steps if outline.max_steps_extend else min(total, outline.max_steps)
    return Steps(
        per_epoch=per_epoch,
        total=total,
        warmup=min(count_warmup(outline, total), total - 1),
        validate_every=min(_validate_every(outline, per_epoch), total),
    )


def count_warmup(outline: Outline, total: int) -> int:
    """Counts the warm-up steps that are asked for, whether or not they fit into the total."""
    return outline.warmup_steps if outline.warmup_ratio is None else math.ceil(outline.warmup_ratio * total)


def _validate_every(outline: Outline, per_epoch: int) -> int:
    if outline.validate_every_steps is not None:
        return outline.validate_every_steps
    return max(1, int(outline.validate_every_epochs * per_epoch))
