"""How the work is spread over processes, as Automodel's `distributed` block says it: pure."""

from typing import Any

from customizer_contract.automodel import Parallelism
from customizer_contract.job import Job
from customizer_contract.outline import Outline


def build_distributed(job: Job, parallelism: Parallelism, dtype: str) -> dict[str, Any]:
    """Builds the `distributed` block."""
    outline = job.outline
    if job.device == "cpu" and is_replicated(outline):
        # Sharding saves memory that a small model does not need, and would send all weights over the network twice
        # a step; replicas exchange gradients only.
        return {"strategy": "ddp"}
    block: dict[str, Any] = {
        "strategy": "fsdp2",
        "dp_size": "none",
        "dp_replicate_size": outline.data_parallel_replicate_size,
        "tp_size": outline.tensor_parallel_size,
        "cp_size": outline.context_parallel_size,
        "pp_size": outline.pipeline_parallel_size,
        "ep_size": outline.expert_parallel_size,
        "sequence_parallel": parallelism.sequence_parallel,
        # Without it everything is computed in bfloat16, whatever precision was asked for.
        "mp_policy": {
            "_target_": "torch.distributed.fsdp.MixedPrecisionPolicy",
            "param_dtype": dtype,
            "reduce_dtype": "float32",
            "cast_forward_inputs": False,
        },
    }
    if outline.pipeline_parallel_size > 1:
        block["pipeline"] = {
            "pp_schedule": "1f1b",
            # One sample at a time: as many micro batches as there are samples keep the stages busiest.
            "pp_microbatch_size": 1,
            # The recipe divides by the learned tokens of the whole batch.
            "scale_grads_in_schedule": False,
        }
    return block


def is_replicated(outline: Outline) -> bool:
    """Tells whether each process holds the whole model and its own samples."""
    return outline.model_parallel_size == outline.expert_parallel_size == outline.data_parallel_replicate_size == 1
