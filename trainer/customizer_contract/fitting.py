"""Which change of a job's settings would make it fit into a GPU's memory: pure."""

from collections.abc import Iterator
from typing import Literal, TypeVar

from customizer_contract.automodel import Automodel, Parallelism
from customizer_contract.memory import estimate_memory
from customizer_contract.shape import Dtype, ModelShape
from customizer_contract.steps import data_parallel_size
from customizer_contract.unsloth import Unsloth

Settings = TypeVar("Settings", Automodel, Unsloth)
Change = tuple[str, Automodel | Unsloth]
"""What a person would write, and the settings as they would then be."""

_GIB = 2**30
_SHORTEST = 256
"""Tokens: shorter samples are not suggested."""


def suggest_fit(
    shape: ModelShape,
    dtype: Dtype,
    settings: Automodel | Unsloth,
    limit_bytes: int,
    *,
    device: Literal["gpu", "cpu"] = "gpu",
    longest_sample: int | None = None,
    packs_per_micro_batch: int | None = None,
    teacher: ModelShape | None = None,
) -> str | None:
    """Names the nearest settings with which the job would fit, such as `batch.microBatchSize: 2 (31.4 GiB)`."""
    for text, changed in _list_changes(shape, settings, teacher):
        estimate = estimate_memory(
            shape,
            dtype,
            changed,
            device=device,
            longest_sample=longest_sample,
            packs_per_micro_batch=packs_per_micro_batch,
            teacher=teacher,
        )
        if estimate.total_bytes <= limit_bytes:
            return f"{text} ({estimate.total_bytes / _GIB:.1f} GiB)"
    return None


def _list_changes(shape: ModelShape, settings: Automodel | Unsloth, teacher: ModelShape | None) -> Iterator[Change]:
    """Yields settings that take less memory, those that change least of the result first."""
    if isinstance(settings, Automodel):
        yield from _changes_of_automodel([shape, *([teacher] if teacher else [])], settings)
    else:
        yield from _changes_of_unsloth(settings)


def _changes_of_automodel(shapes: list[ModelShape], settings: Automodel) -> Iterator[Change]:
    batch, spread = settings.batch, settings.parallelism
    written, smaller = "", _smaller(batch.micro_batch_size, multiple_of=spread.pipeline_parallel_size)
    for size in smaller:
        written, settings = f"batch.microBatchSize: {size}", _change(settings, "batch", micro_batch_size=size)
        yield written, settings
    for size in _wider(shapes, spread):
        changed = _change(settings, "parallelism", tensor_parallel_size=size)
        yield _join(written, f"parallelism.tensorParallelSize: {size}"), changed
    for length in _shorter(settings.training.max_seq_length):
        changed = _change(settings, "training", max_seq_length=length)
        yield _join(written, f"training.maxSeqLength: {length}"), changed
    for nodes in (spread.num_nodes * 2**power for power in range(1, 6)):
        changed = _change(settings, "parallelism", num_nodes=nodes)
        if batch.global_batch_size % (changed.batch.micro_batch_size * data_parallel_size(changed.outline)) == 0:
            yield _join(written, f"parallelism.numNodes: {nodes}"), changed
    if not settings.training.adapts and settings.training.precision != "fp8":
        changed = _change(settings, "training", finetuning_type="lora")
        yield _join(written, "training.finetuningType: lora"), changed


def _changes_of_unsloth(settings: Unsloth) -> Iterator[Change]:
    written = ""
    for size in _smaller(settings.batch.per_device_train_batch_size):
        written = f"batch.perDeviceTrainBatchSize: {size}"
        settings = _change(settings, "batch", per_device_train_batch_size=size)
        yield written, settings
    if settings.training.use_gradient_checkpointing != "unsloth":
        written = _join(written, "training.useGradientCheckpointing: unsloth")
        settings = _change(settings, "training", use_gradient_checkpointing="unsloth")
        yield written, settings
    for length in _shorter(settings.model.max_seq_length):
        changed = _change(settings, "model", max_seq_length=length)
        yield _join(written, f"model.maxSeqLength: {length}"), changed
    if not settings.training.adapts:
        written = _join(written, "training.finetuningType: lora")
        settings = _change(settings, "training", finetuning_type="lora")
        yield written, settings
    if not settings.model.load_in_4bit:
        changed = _change(settings, "model", load_in_4bit=True, load_in_8bit=False)
        yield _join(written, "model.loadIn4bit: true"), changed


def _smaller(size: int, multiple_of: int = 1) -> list[int]:
    """Lists the divisors below a size, the largest first: what it divides, they divide, too."""
    return [each for each in range(size // 2, 0, -1) if size % each == 0 and each % multiple_of == 0]


def _wider(shapes: list[ModelShape], spread: Parallelism) -> list[int]:
    """Lists larger tensor-parallel sizes by which a node's GPUs and the models' heads can be divided."""
    if any(shape.experts for shape in shapes):
        return []
    heads = (count for shape in shapes for count in (shape.attention_heads, shape.key_value_heads))
    counts = (spread.num_gpus_per_node, *heads)
    sizes = range(spread.tensor_parallel_size * 2, spread.num_gpus_per_node + 1)
    return [size for size in sizes if not any(count % size for count in counts)]


def _shorter(length: int) -> list[int]:
    return [length // part for part in (2, 4, 8) if length // part >= _SHORTEST]


def _join(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _change(settings: Settings, block: str, **changes: object) -> Settings:
    return settings.model_copy(update={block: getattr(settings, block).model_copy(update=changes)})
