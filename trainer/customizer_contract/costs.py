"""How many bytes the backends keep of a number, by what it is: what memory and transfers are estimated from."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from customizer_contract.automodel import Automodel
from customizer_contract.shape import Dtype, ModelShape
from customizer_contract.unsloth import Unsloth

BYTES_OF: dict[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4, "bf16": 2, "fp16": 2, "fp32": 4, "fp8": 2}
"""Bytes of a number, by its data type as a checkpoint or a job names it."""
FLOAT = 4
"""Bytes of a number in full precision."""
Recomputes = Literal["no", "layers", "offloaded"]
_RECOMPUTES: dict[str, Recomputes] = {"unsloth": "offloaded", "true": "layers", "false": "no"}
QUANTIZED_4_BIT = 0.53
"""Half a byte, and the scales of its blocks."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Bytes a number, as a backend holds it."""

    frozen: float
    """A weight of a linear layer, when an adapter is trained beside it."""
    trained: float
    """A weight that is trained."""
    moments: float
    """The optimizer's numbers of a trained weight."""
    computed: int
    """A number of an activation."""
    logit: float
    """A logit, with its loss and gradient."""
    recomputes: Recomputes = "no"
    """Whether activations within layers are computed twice, and the layers' inputs wait in the host's memory."""
    eager: bool = False
    """Whether attention keeps its weights of every pair of tokens."""
    sequence_parallel: bool = False
    """Whether tensor-parallel GPUs share what lies between the matrices, too."""


def find_costs(settings: Automodel | Unsloth, dtype: Dtype, device: Literal["gpu", "cpu"]) -> Costs:
    """Returns what a backend's numbers cost; `dtype` is that of the checkpoint."""
    if isinstance(settings, Automodel):
        return _costs_of_automodel(settings, dtype)
    return _costs_of_unsloth(settings, dtype, device)


def count_trained(shape: ModelShape, settings: Automodel | Unsloth) -> int:
    """Counts the weights that are trained: those of the adapter, or all."""
    return _adapter_parameters(shape, settings) if settings.outline.adapts else shape.parameters


def _adapter_parameters(shape: ModelShape, settings: Automodel | Unsloth) -> int:
    lora = settings.training.lora
    rank = 16 if lora is None else lora.rank
    targets = (
        ["*"] if lora is None or not lora.target_modules else [name.rpartition(".")[2] for name in lora.target_modules]
    )
    adapted = [each for each in shape.projections if any(fnmatchcase(each.name, target) for target in targets)]
    return shape.layers * sum(rank * (each.inputs + each.outputs) * each.copies for each in adapted)


def _costs_of_automodel(settings: Automodel, dtype: Dtype) -> Costs:
    training = settings.training
    size = BYTES_OF[training.precision or dtype]
    # Weights, gradients and moments are all of the type that the model was loaded in.
    return Costs(
        frozen=size,
        trained=size,
        moments=2 * size,
        computed=size,
        # A distillation keeps what the teacher says, too, and compares both in full precision.
        logit=(size + 2 * FLOAT) + (BYTES_OF[training.teacher_precision] + 4 * FLOAT if training.distills else 0),
        eager=training.attn_implementation == "eager",
        sequence_parallel=settings.parallelism.sequence_parallel,
    )


def _costs_of_unsloth(settings: Unsloth, dtype: Dtype, device: Literal["gpu", "cpu"]) -> Costs:
    model, training = settings.model, settings.training
    # The library's own choice is that of the checkpoint on a CPU, and 16 bits on a GPU.
    size = BYTES_OF[model.dtype] if model.dtype in BYTES_OF else BYTES_OF[dtype] if device == "cpu" else 2
    frozen = QUANTIZED_4_BIT if model.load_in_4bit else 1 if model.load_in_8bit else size
    # Without a GPU, optimizers of 8 bits are replaced.
    small = 2 if device == "gpu" else 2 * FLOAT
    moments = {"adamw_8bit": small, "paged_adamw_8bit": small, "sgd": 0}.get(settings.optimizer.optim, 2 * FLOAT)
    return Costs(
        frozen=frozen,
        # Adapters are trained in full precision, and so are all weights beside fp16.
        trained=FLOAT if training.adapts or settings.hardware.precision == "fp16" else size,
        moments=moments,
        computed=size,
        logit=size,
        recomputes=_RECOMPUTES[training.use_gradient_checkpointing],
    )
