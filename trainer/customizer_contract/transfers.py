"""How many bytes a training moves over the network: estimates from the model's numbers and the job's settings, pure."""

import math
from dataclasses import dataclass
from typing import Literal

from customizer_contract.automodel import Automodel
from customizer_contract.costs import BYTES_OF, QUANTIZED_4_BIT, Costs, count_trained, find_costs
from customizer_contract.shape import Dtype, ModelShape
from customizer_contract.steps import Steps
from customizer_contract.unsloth import Unsloth

_MERGED_16_BIT = 2
_COPIES = {"best": 1, "last": 1, "both": 2}
_REWRITTEN = ("pissa", "olora")
"""Initial weights of which an adapter is published with twice the rank."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """What goes to S3, in bytes, about."""

    checkpoint_bytes: int
    """A checkpoint, the parts of all pods together."""
    artifact_bytes: int
    """The weights of the artifact; its tokenizer is not counted."""


def estimate_uploads(
    shape: ModelShape, dtype: Dtype, settings: Automodel | Unsloth, *, device: Literal["gpu", "cpu"] = "gpu"
) -> Uploads:
    """Estimates a checkpoint and the artifact; `dtype` is that of the model's weights."""
    costs = find_costs(settings, dtype, device)
    trained = count_trained(shape, settings)
    artifact = _count_artifact(shape, dtype, settings, costs, trained)
    return Uploads(
        # Replicas save one copy, and frozen weights are not saved.
        checkpoint_bytes=round(trained * (costs.trained + costs.moments)),
        artifact_bytes=round(artifact * _COPIES[settings.outline.selection]),
    )


def _count_artifact(
    shape: ModelShape, dtype: Dtype, settings: Automodel | Unsloth, costs: Costs, trained: int
) -> float:
    if isinstance(settings, Automodel) and settings.training.adapts and settings.training.merges:
        # The adapter is added to the weights as they are stored, whatever they are trained in.
        return shape.parameters * BYTES_OF[dtype]
    if isinstance(settings, Automodel) or not settings.outline.adapts:
        return trained * costs.trained
    lora = settings.training.lora
    match settings.output.save_method:
        case "merged_16bit":
            return shape.parameters * _MERGED_16_BIT
        case "merged_4bit":
            layers = shape.layers * shape.layer_parameters
            return layers * QUANTIZED_4_BIT + (shape.parameters - layers) * _MERGED_16_BIT
        case _:
            rewritten = lora is not None and lora.init_lora_weights in _REWRITTEN
            return trained * costs.trained * (2 if rewritten else 1)


def count_checkpoints(steps: Steps, every_steps: int | None) -> int:
    """Counts the checkpoints of a training: after each validation, every so many steps, and at the end.

    Those that are due because of the time are not among them.
    """
    total, first, second = steps.total, steps.validate_every, every_steps or steps.validate_every
    regular = total // first + total // second - total // math.lcm(first, second)
    return regular if total % first == 0 or total % second == 0 else regular + 1
