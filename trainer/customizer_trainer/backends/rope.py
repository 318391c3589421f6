"""RoPE scaling in the words of a model's configuration: pure."""

from typing import Any

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.rope import RopeScaling

_OWN_ROTATION = frozenset({"gemma", "gemma2"})
"""Types of models whose rotation the library does not scale."""
_THETA = 10000.0
"""The base of the rotation where a configuration names none."""


def complete_rope(config: dict[str, Any], rope: RopeScaling) -> dict[str, Any]:
    """Returns the scaling with what it takes over from the model. Raises ModelInvalid if the model cannot be scaled."""
    text = config.get("text_config") or config
    own = text.get("rope_parameters") or {}
    if config.get("model_type") in _OWN_ROTATION or any(isinstance(value, dict) for value in own.values()):
        message = f"model.ropeScaling does nothing for a {config.get('model_type')}: remove it."
        raise CustomizerError(Reason.MODEL_INVALID, message, field="unsloth.model.ropeScaling")
    complete = {
        **rope.model_dump(exclude_none=True),
        "rope_theta": text.get("rope_theta") or own.get("rope_theta") or _THETA,
    }
    if rope.rope_type != "linear":
        complete.setdefault("original_max_position_embeddings", text["max_position_embeddings"])
    return complete


def scale_config(config: dict[str, Any], rope: RopeScaling) -> dict[str, Any]:
    """Returns the configuration of the model with its rotation scaled, in the form in which it was."""
    complete = complete_rope(config, rope)
    text = dict(config.get("text_config") or config)
    if "rope_parameters" in text:
        text["rope_parameters"] = complete
    else:
        text["rope_scaling"] = {key: value for key, value in complete.items() if key != "rope_theta"}
    if rope.rope_type != "linear":
        # Servers multiply the limit by the factor themselves when it is linear.
        text["max_position_embeddings"] = rope.reach(text["max_position_embeddings"])
    return {**config, "text_config": text} if config.get("text_config") else text
