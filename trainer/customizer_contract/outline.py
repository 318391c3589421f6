"""What every backend's settings come down to: how the work is spread, how long it goes on, what is read of the data."""

from dataclasses import dataclass
from typing import Literal

from customizer_contract.rope import RopeScaling


@dataclass(frozen=True, slots=True)
class Outline:
    """The part of a job that is the same question to every backend; all that is not about it is the backend's own."""

    nodes: int
    processes: int
    """Processes on each node, one a GPU."""
    tensor_parallel_size: int
    """Processes that share each layer's matrices."""
    pipeline_parallel_size: int
    """Groups of processes that hold consecutive layers each."""
    context_parallel_size: int
    """Processes that share each sample's tokens."""
    expert_parallel_size: int
    """Processes that share the experts; 1 of a dense model."""
    data_parallel_replicate_size: int
    """Copies of the weights; each is sharded over the data-parallel processes that it has."""
    global_batch_size: int
    """Samples an optimizer step sees, over all processes."""
    micro_batch_size: int
    """Samples a process holds at once."""
    epochs: int
    max_steps: int | None
    max_steps_extend: bool
    """Whether max_steps counts even beyond the epochs; else it only shortens."""
    warmup_steps: int
    warmup_ratio: float | None
    """Share of all steps, in place of warmup_steps."""
    validate_every_steps: int | None
    validate_every_epochs: float
    """Counts when validate_every_steps is None."""
    validation_split: float
    seed: int
    adapts: bool
    """Whether adapters are trained, rather than all weights."""
    max_seq_length: int
    max_seq_length_field: str
    """Where the job says it."""
    selection: Literal["best", "last", "both"]
    """Which checkpoint is published; both: the last one beside the best."""
    log_every_steps: int = 1
    """Steps between the values that trackers are told."""
    packs: bool = False
    """Whether training samples shall share sequences."""
    rope: RopeScaling | None = None
    """How the model's RoPE is scaled, so that samples may be longer than its own limit."""

    @property
    def world_size(self) -> int:
        """Processes of all nodes."""
        return self.nodes * self.processes

    @property
    def model_parallel_size(self) -> int:
        """Processes that work on the same samples."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.context_parallel_size
