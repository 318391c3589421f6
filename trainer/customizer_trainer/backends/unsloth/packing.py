"""What keeps Unsloth from packing: samples that share a row must not see each other."""

from customizer_contract.job import Job
from customizer_trainer.model import ModelConfig

_KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Models whose tokens meet in attention only, and whose attention tells samples apart by their positions."""


def find_obstacle(job: Job, config: ModelConfig) -> str | None:
    """Returns why the samples of this job cannot be packed, None if they can."""
    window, length = config.sliding_window, job.outline.max_seq_length
    if config.model_type not in _KNOWN:
        return f"{config.architecture} is not known to keep samples apart that share a row"
    if window is not None and window < length:
        return f"the model's attention sees {window} tokens only, fewer than model.maxSeqLength"
    return None
