from typing import Any

import pytest

from customizer_contract.automodel import Automodel
from customizer_contract.steps import Steps
from customizer_contract.transfers import count_checkpoints, estimate_uploads
from customizer_contract.unsloth import Unsloth
from tests.unit.trainer.test_memory import LLAMA_8B

ALL = LLAMA_8B.parameters
ADAPTER = 41_943_040
"""Numbers of an adapter of rank 16."""
FULL: dict[str, Any] = {"training": {"finetuningType": "all_weights"}}
WHOLE: dict[str, Any] = {**FULL, "model": {"loadIn4bit": False}}


def spread(backend: type[Automodel] | type[Unsloth], **blocks: Any) -> Automodel | Unsloth:
    return backend.model_validate(blocks)


UPLOADS: dict[str, tuple[Automodel | Unsloth, float, float]] = {
    "an adapter with two moments for each number": (spread(Automodel), 6 * ADAPTER, 2 * ADAPTER),
    "on more GPUs the same": (spread(Automodel, parallelism={"numGpusPerNode": 8}), 6 * ADAPTER, 2 * ADAPTER),
    "an adapter in full precision": (
        spread(Automodel, training={"precision": "fp32"}), 12 * ADAPTER, 4 * ADAPTER,
    ),
    "an adapter of the best step, and one of the last": (
        spread(Automodel, schedule={"checkpointSelection": "both"}), 6 * ADAPTER, 4 * ADAPTER,
    ),
    "an adapter that was merged where the weights lie": (
        spread(Automodel, training={"finetuningType": "lora_merged"}), 6 * ADAPTER, 2 * ALL,
    ),
    "an adapter that was merged, though trained in full precision": (
        spread(Automodel, training={"precision": "fp32", "lora": {"merge": True}}), 12 * ADAPTER, 2 * ALL,
    ),
    "all weights": (spread(Automodel, **FULL), 6 * ALL, 2 * ALL),
    "an adapter of Unsloth with moments of 8 bits": (spread(Unsloth), 6 * ADAPTER, 4 * ADAPTER),
    "all weights with Unsloth": (spread(Unsloth, **WHOLE), 4 * ALL, 2 * ALL),
    "no moments": (spread(Unsloth, optimizer={"optim": "sgd"}), 4 * ADAPTER, 4 * ADAPTER),
    "an adapter that was merged": (
        spread(Unsloth, output={"saveMethod": "merged_16bit"}), 6 * ADAPTER, 2 * ALL,
    ),
    "an adapter published with twice the rank": (
        spread(Unsloth, model={"loadIn4bit": False}, training={"lora": {"initLoraWeights": "pissa"}}),
        6 * ADAPTER,
        8 * ADAPTER,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "checkpoint", "artifact"), UPLOADS.values(), ids=UPLOADS.keys())
def test_what_is_uploaded_follows_from_what_is_trained(
    settings: Automodel | Unsloth, checkpoint: float, artifact: float
) -> None:
    uploads = estimate_uploads(LLAMA_8B, "bfloat16", settings)
    assert (uploads.checkpoint_bytes, uploads.artifact_bytes) == (checkpoint, artifact)


def test_a_merged_model_in_4_bits_is_a_bit_more_than_a_quarter_of_one_in_16() -> None:
    quantized = estimate_uploads(LLAMA_8B, "bfloat16", spread(Unsloth, output={"saveMethod": "merged_4bit"}))
    assert 0.25 < quantized.artifact_bytes / (2 * ALL) < 0.4


@pytest.mark.parametrize(
    ("total", "validate_every", "every_steps", "count"),
    [
        pytest.param(24, 8, None, 3, id="after each validation"),
        pytest.param(25, 8, None, 4, id="and at the end"),
        pytest.param(24, 8, 5, 7, id="in between: 5 8 10 15 16 20 24"),
        pytest.param(24, 8, 4, 6, id="once where both are due"),
        pytest.param(7, 7, 100, 1, id="at least one"),
        pytest.param(2**31, 10**6, 1, 2**31, id="counted without a list of them"),
    ],
)
def test_checkpoints_are_counted(total: int, validate_every: int, every_steps: int | None, count: int) -> None:
    steps = Steps(per_epoch=total, total=total, warmup=0, validate_every=validate_every)
    assert count_checkpoints(steps, every_steps) == count
