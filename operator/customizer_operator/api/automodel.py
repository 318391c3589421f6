"""What can be asked of Automodel in a CustomizationJob: the contract's fields, and the teacher by its source."""

from dataclasses import dataclass

from customizer_contract import automodel
from customizer_contract.base import CelRule
from customizer_operator.api.common import ModelSource


class Training(automodel.Training):
    """What is trained and in which form."""

    teacher_model: ModelSource | None = None
    """The model to learn from, of a distillation. Its tokenizer and its vocabulary are those of the model."""

    cel_rules = (
        *automodel.Training.cel_rules,
        CelRule(
            "self.trainingType != 'distillation' || has(self.teacherModel)",
            "a distillation learns from a teacher: name it with teacherModel, or set trainingType: sft",
        ),
        CelRule(
            "self.trainingType == 'distillation' || !has(self.teacherModel)",
            "teacherModel is for trainingType: distillation; remove it, or change trainingType",
        ),
    )


class Automodel(automodel.Automodel):
    """A fine-tuning by NeMo Automodel: many GPUs and nodes."""

    training: Training = Training()
    """What is trained and in which form."""

    def without_teacher(self) -> automodel.Automodel:
        """Returns what the trainer is told; of the teacher it is told beside the other sources."""
        return automodel.Automodel.model_validate(self.model_dump(exclude={"training": {"teacher_model"}}))


@dataclass(frozen=True, slots=True)
class _NeedsGpu:
    """A setting that no CPU can do."""

    setting: str
    asked: str
    """CEL: whether a job asks for it."""
    instead: str


_TRAINING = "self.automodel.training"
NEEDS_GPU = (
    _NeedsGpu(
        "attnImplementation flash_attention_2", f"{_TRAINING}.attnImplementation == 'flash_attention_2'", "use sdpa"
    ),
    *(
        _NeedsGpu(
            f"precision {name}",
            f"has({_TRAINING}.precision) && {_TRAINING}.precision == '{name}'",
            "use fp32 or bf16",
        )
        for name in ("fp16", "fp8")
    ),
    _NeedsGpu("teacherPrecision fp16", f"{_TRAINING}.teacherPrecision == 'fp16'", "use fp32 or bf16"),
    _NeedsGpu(
        "lora.useTriton",
        f"has({_TRAINING}.lora) && has({_TRAINING}.lora.useTriton) && {_TRAINING}.lora.useTriton",
        "remove it",
    ),
    _NeedsGpu("offloadTeacher", f"{_TRAINING}.offloadTeacher", "remove it"),
)
"""All that a CPU is refused. What it does otherwise without a difference in the result is the recipe's choice."""

DEVICE_RULES = tuple(
    CelRule(
        f"!has(self.automodel) || self.compute.device != 'cpu' || !({each.asked})",
        f"{each.setting} needs a GPU: {each.instead}, or compute.device gpu",
    )
    for each in NEEDS_GPU
)
"""Over the spec of a CustomizationJob."""
