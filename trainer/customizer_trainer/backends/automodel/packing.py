"""What keeps Automodel from packing: samples that share a sequence must not see each other."""

from customizer_contract.job import Job
from customizer_trainer.model import ModelConfig

_KNOWN = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})
"""Models whose tokens meet in attention only: a mask keeps the samples of a sequence apart."""


def find_obstacle(job: Job, config: ModelConfig) -> str | None:
    """Returns why the samples of this job cannot be packed, None if they can."""
    if job.automodel is None:
        raise ValueError("the job names another backend")
    training, parallelism = job.automodel.training, job.automodel.parallelism
    if config.model_type not in _KNOWN:
        return f"{config.architecture} is not known to keep samples apart that share a sequence"
    if config.sliding_window is not None and config.sliding_window < training.max_seq_length:
        return f"the model's attention sees {config.sliding_window} tokens only, which the mask of packs would widen"
    if training.distills and training.attn_implementation == "flash_attention_2":
        return "a teacher's attention takes masks only; use attnImplementation sdpa"
    if training.attn_implementation == "eager":
        return "attnImplementation eager takes no mask of packs; use sdpa"
    if parallelism.context_parallel_size > 1:
        return "contextParallelSize shares out sequences without a mask; write 1"
    return None
