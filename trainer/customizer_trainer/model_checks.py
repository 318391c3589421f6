"""What can be said of a model before any weight is loaded: whether this job can train it. Pure."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from customizer_contract.automodel import Automodel
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.fitting import suggest_fit
from customizer_contract.job import Job, ModelInput
from customizer_contract.memory import estimate_memory
from customizer_contract.result import DatasetFacts
from customizer_contract.shape import ModelShape
from customizer_trainer.backends.rope import complete_rope
from customizer_trainer.model import ModelConfig, check_lora

_GIB = 2**30
_HEAD = ("lm_head", "model.lm_head")


def check_model(job: Job, config: ModelConfig, weights: Sequence[str] = ()) -> None:
    """Raises the first reason for which the model, in files of these names, cannot be trained as the job asks."""
    if job.outline.adapts:
        check_lora(config)
    _check_length(job, config)
    if job.automodel is not None and job.automodel.training.merges:
        _check_merge(job.automodel, config, weights)
    if job.automodel is not None and config.shape is not None:
        check_mesh(job.automodel, config.shape)


def check_rope(job: Job, document: dict[str, Any]) -> None:
    """Raises ModelInvalid when positions of the model, of which this is `config.json`, cannot be scaled as asked."""
    asked = None if job.unsloth is None else job.unsloth.model.rope_scaling
    if asked is not None:
        # The other kinds are refused for the same reasons, and read more, which the file may leave to the library.
        complete_rope(document, asked.model_copy(update={"rope_type": "linear"}))


def check_architecture(
    model: ModelInput, config: ModelConfig, knows: Callable[[str], bool], field: str = "model"
) -> None:
    """Raises ArchitectureUnsupported for one that neither the backend knows nor the model brings as code.

    `field` is where the job names the model.
    """
    if knows(config.architecture) or (config.brings_code and model.trust_remote_code):
        return
    if config.brings_code:
        field = f"{field}.trustRemoteCode"
        message = f"{config.architecture} is code that comes with the model: set {field} if you trust it."
        raise CustomizerError(Reason.ARCHITECTURE_UNSUPPORTED, message, field=field)
    raise CustomizerError(
        Reason.ARCHITECTURE_UNSUPPORTED,
        f"{config.architecture} is not known to the backend, and the model brings no code of its own.",
        file="config.json",
        field="architectures",
    )


def check_vocabulary(config: ModelConfig, tokens: int) -> None:
    """Raises TokenizerInvalid when the tokenizer can write tokens that the model has no embedding of."""
    if config.shape is not None and tokens > config.shape.vocabulary_size:
        raise CustomizerError(
            Reason.TOKENIZER_INVALID,
            f"The tokenizer knows {tokens} tokens, the model only {config.shape.vocabulary_size}.",
            file="config.json",
            field="vocab_size",
        )


def check_tokens(config: ModelConfig, highest: int) -> None:
    """Raises TokenizerInvalid when the data, encoded, hold a token that the model has no embedding of.

    Tokens that were added beside the vocabulary may be such ones; they do no harm unless the data, or the chat
    template, hold them.
    """
    if config.shape is not None and highest >= config.shape.vocabulary_size:
        raise CustomizerError(
            Reason.TOKENIZER_INVALID,
            f"The data, encoded, hold token {highest}, which was added to the tokenizer: the model's embedding ends"
            f" with token {config.shape.vocabulary_size - 1}. Use the model's own tokenizer, or enlarge its embedding.",
            file="config.json",
            field="vocab_size",
        )


def check_memory(job: Job, config: ModelConfig, dataset: DatasetFacts, teacher: ModelConfig | None = None) -> None:
    """Raises MemoryInsufficient when the job does not fit into the GPU that it names, with the nearest that does.

    Judges nothing where the job does not say what its GPUs hold, or the configuration what the model measures.
    """
    limit, shape, dtype, settings = job.gpu_memory_bytes, config.shape, config.dtype, job.settings
    if limit is None or shape is None or dtype is None:
        return
    other, longest, packs = teacher.shape if teacher else None, dataset.longest_sequence, dataset.packs_per_micro_batch
    estimate = estimate_memory(
        shape, dtype, settings, device=job.device, longest_sample=longest, packs_per_micro_batch=packs, teacher=other
    )
    if estimate.total_bytes <= limit:
        return
    nearest = suggest_fit(
        shape,
        dtype,
        settings,
        limit,
        device=job.device,
        longest_sample=longest,
        packs_per_micro_batch=packs,
        teacher=other,
    )
    parts = ", ".join(
        f"{name} {size / _GIB:.1f}"
        for name, size in (
            ("weights", estimate.weights_bytes),
            ("gradients", estimate.gradients_bytes),
            ("optimizer", estimate.optimizer_bytes),
            ("activations", estimate.activations_bytes),
        )
    )
    message = (
        f"About {estimate.total_bytes / _GIB:.1f} GiB a GPU are needed ({parts}), and compute.gpuMemory is"
        f" {limit / _GIB:.1f} GiB."
    )
    advice = f" This would fit: {nearest}." if nearest else " No change of batch, length, adapter or nodes would do."
    raise CustomizerError(Reason.MEMORY_INSUFFICIENT, message + advice)


def _check_merge(settings: Automodel, config: ModelConfig, weights: Sequence[str]) -> None:
    """Raises ModelInvalid when an adapter could not be added to the weights as they are stored."""
    stored = "quantized" if config.quantized else "pickles" if any(name.endswith(".bin") for name in weights) else None
    if stored is not None:
        raise CustomizerError(
            Reason.MODEL_INVALID,
            f"The model's weights are {stored}, so that no adapter can be added to them as they are: write"
            " training.finetuningType: lora.",
            field="automodel.training.finetuningType",
        )
    targets = (settings.training.lora.target_modules if settings.training.lora else None) or []
    is_tied = config.shape is not None and config.shape.tied_embeddings
    if is_tied and any(fnmatchcase(name, target) for name in _HEAD for target in targets):
        raise CustomizerError(
            Reason.MODEL_INVALID,
            "The model's head is its embedding, too, which a merged adapter would change: leave lm_head out of"
            " lora.targetModules.",
            field="automodel.training.lora.targetModules",
        )


def _check_length(job: Job, config: ModelConfig) -> None:
    outline, limit = job.outline, config.context_length
    if outline.rope is not None and config.trained_length is not None:
        # What is published then says the same (`backends.rope.scale_config`).
        limit = outline.rope.reach(config.trained_length)
    if limit is not None and outline.max_seq_length > limit:
        raise CustomizerError(
            Reason.SEQUENCE_TOO_LONG,
            f"maxSeqLength is {outline.max_seq_length}; its context is {limit} tokens.",
            field=outline.max_seq_length_field,
        )


def check_mesh(settings: Automodel, shape: ModelShape) -> None:
    """Raises ParallelismInvalid when the model cannot be shared out as the job asks, with the nearest that works."""
    spread = settings.parallelism
    tensor, pipeline, expert = (
        spread.tensor_parallel_size,
        spread.pipeline_parallel_size,
        spread.expert_parallel_size or 1,
    )
    gpus = spread.num_nodes * spread.num_gpus_per_node
    for what, count in (("key/value heads", shape.key_value_heads), ("attention heads", shape.attention_heads)):
        if count % tensor:
            fits = [size for size in _divisors(count) if shape.attention_heads % size == 0 and gpus % size == 0]
            raise _uneven("tensorParallelSize", tensor, f"{count} {what}", fits)
    if pipeline > 1 and shape.tied_embeddings:
        raise CustomizerError(
            Reason.PARALLELISM_INVALID,
            "The model's embedding is also its head, so that they cannot lie in different stages: write"
            " parallelism.pipelineParallelSize: 1.",
            field="automodel.parallelism.pipelineParallelSize",
        )
    if shape.layers % pipeline:
        fits = [size for size in _divisors(shape.layers) if gpus % size == 0]
        raise _uneven("pipelineParallelSize", pipeline, f"{shape.layers} layers", fits)
    if expert > 1 and not shape.experts:
        raise _uneven("expertParallelSize", expert, "no experts", [1])
    if shape.experts % expert:
        fits = [size for size in _divisors(shape.experts) if gpus % size == 0]
        raise _uneven("expertParallelSize", expert, f"{shape.experts} experts", fits)
    if shape.experts and tensor > 1:
        raise _uneven("tensorParallelSize", tensor, "experts, which expertParallelSize shares out", [1])


def _uneven(field: str, asked: int, what: str, fits: list[int]) -> CustomizerError:
    # Of two that are as near, the larger one: it takes less memory.
    nearest = min(fits, key=lambda size: (abs(size - asked), -size))
    return CustomizerError(
        Reason.PARALLELISM_INVALID,
        f"The model has {what}, which {asked} GPUs cannot share evenly: write parallelism.{field}: {nearest}.",
        field=f"automodel.parallelism.{field}",
    )


def _divisors(count: int) -> list[int]:
    return [size for size in range(1, count + 1) if count % size == 0]
