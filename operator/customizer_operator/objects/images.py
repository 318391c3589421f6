"""The images that containers are made from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Images:
    """The operator's own images; a spec may name others for training and serving."""

    io: str
    """Runs preflight, fetch, verify and stage."""
    automodel: str
    """Trains with NeMo Automodel."""
    unsloth: str
    """Trains with Unsloth."""
    vllm: str | None = None
    """Serves runtime VLLM."""
    multi_llm: str | None = None
    """Serves runtime MultiLLM."""
