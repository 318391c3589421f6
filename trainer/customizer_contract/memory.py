"""How much memory a training takes on each GPU: an estimate from the model's numbers and the job's settings, pure.

What it counts is what the backends hold at the fullest moment, which is when the backward pass of a micro batch
begins. Measured trainings lie within a fifth of it.
"""

from typing import Literal

from customizer_contract.automodel import Automodel
from customizer_contract.base import Model
from customizer_contract.costs import BYTES_OF, FLOAT, Costs, count_trained, find_costs
from customizer_contract.outline import Outline
from customizer_contract.shape import Dtype, ModelShape
from customizer_contract.steps import data_parallel_size
from customizer_contract.unsloth import Unsloth

_RESERVE = {"gpu": 2**30, "cpu": 400 * 2**20}
"""What the libraries take before there is a model."""
_RESERVE_SHARE = 0.1
"""What the allocator cannot use."""


class MemoryEstimate(Model):
    """Memory that one GPU needs, in bytes, by what it holds. With device cpu: that one process needs."""

    weights_bytes: int
    """The model, its adapter included, the layers that are gathered from other GPUs while they compute, a teacher."""
    gradients_bytes: int
    """Gradients of what is trained."""
    optimizer_bytes: int
    """The optimizer's moments."""
    activations_bytes: int
    """What the forward pass of a micro batch keeps for the backward pass, logits included."""
    reserve_bytes: int
    """What libraries take and what the allocator cannot use."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        parts = (self.weights_bytes, self.gradients_bytes, self.optimizer_bytes, self.activations_bytes)
        return sum(parts) + self.reserve_bytes


def estimate_memory(
    shape: ModelShape,
    dtype: Dtype,
    settings: Automodel | Unsloth,
    *,
    device: Literal["gpu", "cpu"] = "gpu",
    longest_sample: int | None = None,
    packs_per_micro_batch: int | None = None,
    teacher: ModelShape | None = None,
) -> MemoryEstimate:
    """Estimates the memory of the GPU that needs most.

    `dtype` is that of the checkpoint. Samples are padded to the longest of their batch, so that the longest one
    counts where it is known, and maxSeqLength where it is not. Where samples share sequences, `longest_sample` is the
    size of a pack, and `packs_per_micro_batch` says of how many a micro batch is at most.
    """
    outline = settings.outline
    costs = find_costs(settings, dtype, device)
    spread = _Spread(outline, sharded=device == "gpu" or outline.model_parallel_size > 1)
    length = min(outline.max_seq_length, longest_sample or outline.max_seq_length)
    trained = count_trained(shape, settings)
    trained_here = trained / spread.parts
    weights = _count_weight_bytes(shape, spread, costs, adapts=outline.adapts)
    gradients = trained_here * costs.trained
    if outline.adapts:
        weights += trained_here * costs.trained
    elif spread.shards > 1:
        # A layer's gradients are added up in full precision before each GPU keeps its share.
        gradients += FLOAT * shape.layer_parameters / spread.tensor
    optimizer = trained_here * costs.moments
    micro_batch = min(outline.micro_batch_size, packs_per_micro_batch or outline.micro_batch_size)
    activations = _count_activations(shape, micro_batch, costs, spread, length)
    if teacher is not None and isinstance(settings, Automodel):
        weights += _count_teacher(teacher, settings, spread, activations)
    counted = weights + gradients + optimizer + activations
    return MemoryEstimate(
        weights_bytes=round(weights),
        gradients_bytes=round(gradients),
        optimizer_bytes=round(optimizer),
        activations_bytes=round(activations),
        reserve_bytes=round(_RESERVE[device] + _RESERVE_SHARE * counted),
    )


class _Spread:
    """Over how many GPUs what is shared out."""

    def __init__(self, outline: Outline, *, sharded: bool) -> None:
        self.tensor = outline.tensor_parallel_size
        self.pipeline = outline.pipeline_parallel_size
        self.context = outline.context_parallel_size
        self.expert = outline.expert_parallel_size
        replicas = data_parallel_size(outline) * self.context
        self.shards = replicas // outline.data_parallel_replicate_size if sharded else 1

    @property
    def parts(self) -> int:
        """Counts the GPUs that share one copy of the weights."""
        return self.tensor * self.pipeline * self.shards


def _count_weight_bytes(shape: ModelShape, spread: _Spread, costs: Costs, *, adapts: bool) -> float:
    """Counts what the fullest GPU keeps of the model itself, and what it gathers of it while it computes."""
    layer_size, end_size = (costs.frozen, costs.computed) if adapts else (costs.trained, costs.trained)
    layers = -(-shape.layers // spread.pipeline) * shape.layer_parameters * layer_size
    ends = shape.embedding_parameters * (1 if shape.tied_embeddings or spread.pipeline > 1 else 2) * end_size
    held = (layers + ends) / spread.tensor / spread.shards
    if spread.shards == 1:
        return held
    experts = shape.experts * 3 * shape.hidden_size * shape.expert_size
    layer = (shape.layer_parameters - experts + experts / spread.expert) * layer_size
    # The layer that computes and the one that comes next; the ends stay gathered from forward to backward.
    return held + (2 * layer + ends) / spread.tensor


def _count_teacher(teacher: ModelShape, settings: Automodel, spread: _Spread, activations: float) -> float:
    """Counts what a teacher adds. One that waits in the host's memory is there before the model's activations are."""
    size = BYTES_OF[settings.training.teacher_precision]
    costs = Costs(frozen=size, trained=size, moments=0, computed=size, logit=0)
    weights = _count_weight_bytes(teacher, spread, costs, adapts=False)
    return max(0.0, weights - activations) if settings.training.offload_teacher else weights


def _count_activations(shape: ModelShape, micro_batch: int, costs: Costs, spread: _Spread, length: int) -> float:
    # A pipeline works on one sample at a time, and begins as many as it has stages before the first one is back.
    samples = micro_batch if spread.pipeline == 1 else min(micro_batch, spread.pipeline)
    tokens = samples * length / spread.context
    layers = -(-shape.layers // spread.pipeline)
    inside = tokens * _layer_bytes(shape, costs, spread, length)
    kept = tokens * shape.hidden_size * costs.computed
    stored = {"no": layers * inside, "layers": inside + layers * kept, "offloaded": inside + kept}[costs.recomputes]
    sample_tokens = tokens if spread.pipeline == 1 else length / spread.context
    return stored + sample_tokens * shape.vocabulary_size / spread.tensor * costs.logit


def _layer_bytes(shape: ModelShape, costs: Costs, spread: _Spread, length: int) -> float:
    """Counts what a decoder layer keeps of a token: inputs of norms in full precision, of projections, of products."""
    size = costs.computed
    norms = shape.hidden_size * (2 * FLOAT + 4 * size)
    attention = 4 * size * (shape.query_size + shape.key_value_size)
    width = shape.experts_per_token * shape.expert_size if shape.experts else shape.intermediate_size
    feed_forward = 4 * size * width
    pairs = shape.attention_heads * length * (FLOAT + 2 * size) if costs.eager else 0
    return (
        norms / (spread.tensor if costs.sequence_parallel else 1) + (attention + feed_forward + pairs) / spread.tensor
    )
