"""What nemo_automodel 0.7.0's recipe of distillation does otherwise than a job asks."""

from typing import Any

from nemo_automodel.recipes.llm import kd


def install() -> None:
    """Patches the library."""
    # kd.py:306 runs code that comes with the models whether or not it is trusted; preflight has compared tokenizers.
    kd._verify_tokenizer_compatibility = lambda student, teacher, trust_remote_code=True: None


def find_answer_loss(recipe: Any, metrics: dict[str, float]) -> float | None:
    """Returns the part of a validation loss that is not the teacher's; None where it is not computed, or the whole."""
    return float(metrics["ce_loss"]) if getattr(recipe, "kd_ratio", 1.0) < 1.0 else None
