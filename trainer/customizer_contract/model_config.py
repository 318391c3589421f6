"""What is read of a model's `config.json`, in the words of most models. Both sides ask it what a training takes."""

from typing import Any, get_args

from pydantic import ValidationError

from customizer_contract.shape import Dtype, ModelShape

_DTYPES: tuple[Dtype, ...] = get_args(Dtype)


def find_text_config(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the part on the text model, where it is one inside a larger model."""
    text = document.get("text_config")
    return text if isinstance(text, dict) and text else document


def parse_dtype(document: dict[str, Any]) -> Dtype | None:
    """Returns the data type of the weights; None where the configuration does not say it."""
    parts = (find_text_config(document), document)
    named = (part.get(field) for part in parts for field in ("dtype", "torch_dtype"))
    named_first = next((name for name in named if name), None)
    return next((dtype for dtype in _DTYPES if dtype == named_first), None)


def parse_shape(text: dict[str, Any]) -> ModelShape | None:
    """Picks the measures of a decoder; None where one is missing or is no number."""
    experts = _first(text, "num_local_experts", "num_experts", "n_routed_experts") or 0
    try:
        heads, hidden = text["num_attention_heads"], text["hidden_size"]
        return ModelShape(
            layers=text["num_hidden_layers"],
            hidden_size=hidden,
            intermediate_size=text["intermediate_size"],
            attention_heads=heads,
            key_value_heads=text.get("num_key_value_heads") or heads,
            head_size=text.get("head_dim") or hidden // heads,
            vocabulary_size=text["vocab_size"],
            tied_embeddings=bool(text.get("tie_word_embeddings", False)),
            experts=experts,
            experts_per_token=_first(text, "num_experts_per_tok", "top_k_experts") or 0,
            expert_size=_first(text, "moe_intermediate_size") or (text["intermediate_size"] if experts else 0),
        )
    except (KeyError, TypeError, ZeroDivisionError, ValidationError):
        return None


def _first(text: dict[str, Any], *names: str) -> Any:
    return next((text[name] for name in names if text.get(name) is not None), None)
