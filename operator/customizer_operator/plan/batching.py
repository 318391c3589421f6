"""How the work is spread over processes, how long it is, and what it takes of each GPU and of the network."""

from customizer_contract.costs import BYTES_OF
from customizer_contract.memory import estimate_memory
from customizer_contract.result import DatasetFacts, ModelFacts
from customizer_contract.steps import Steps, count_steps, data_parallel_size, gradient_accumulation_steps
from customizer_contract.transfers import count_checkpoints, estimate_uploads
from customizer_operator.api.customization_job import CustomizationJobSpec
from customizer_operator.api.customization_job_status import PlannedGroup, PlannedTransfers, TrainingPlan
from customizer_operator.objects.scheduling import find_asked
from customizer_operator.plan.placement import find_groups, find_mesh

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi")
_UNIT_BITS = 10


def plan_training(
    spec: CustomizationJobSpec,
    *,
    samples: int | None = None,
    dataset: DatasetFacts | None = None,
    model: ModelFacts | None = None,
) -> TrainingPlan | None:
    """Returns the plan, None without a backend. Steps follow from preflight's facts, or from a number of samples."""
    outline = spec.outline
    if outline is None:
        return None
    training = dataset.training.samples if dataset is not None else samples
    packing = None if dataset is None else dataset.packed
    steps = None if training is None else count_steps(outline, training, packing)
    mesh = find_mesh(outline)
    groups = find_groups(mesh, spec.scheduling.topology)
    return TrainingPlan(
        nodes=outline.nodes,
        gpus_per_node=outline.processes,
        world_size=outline.world_size,
        tensor_parallel_size=outline.tensor_parallel_size,
        pipeline_parallel_size=outline.pipeline_parallel_size,
        context_parallel_size=outline.context_parallel_size,
        expert_parallel_size=outline.expert_parallel_size,
        data_parallel_size=data_parallel_size(outline),
        gradient_accumulation_steps=gradient_accumulation_steps(outline, packing),
        steps_per_epoch=None if steps is None else steps.per_epoch,
        total_steps=None if steps is None else steps.total,
        tokens_per_step=(
            outline.global_batch_size * outline.max_seq_length
            if packing is None
            else packing.packs_per_step * packing.size
        ),
        pack_size=None if packing is None else packing.size,
        estimated_memory_per_gpu=_estimate_memory(spec, dataset, model),
        transfers=_estimate_transfers(spec, steps, dataset, model),
        placement=[
            PlannedGroup(
                parallelism=group.parallelism,
                groups=group.count,
                pods=group.size,
                domain=group.domain,
                label=group.label,
                asked=find_asked(group, spec.scheduling, mesh),
            )
            for group in groups
        ]
        or None,
    )


def _estimate_memory(spec: CustomizationJobSpec, dataset: DatasetFacts | None, model: ModelFacts | None) -> str | None:
    settings = spec.automodel or spec.unsloth
    if settings is None or model is None or model.shape is None or model.dtype is None:
        return None
    estimate = estimate_memory(
        model.shape,
        model.dtype,
        settings,
        device=spec.compute.device,
        longest_sample=None if dataset is None else dataset.longest_sequence,
        packs_per_micro_batch=None if dataset is None else dataset.packs_per_micro_batch,
        teacher=model.teacher,
    )
    return write_size(estimate.total_bytes)


def _estimate_transfers(
    spec: CustomizationJobSpec, steps: Steps | None, dataset: DatasetFacts | None, model: ModelFacts | None
) -> PlannedTransfers | None:
    settings, outline = spec.automodel or spec.unsloth, spec.outline
    if settings is None or outline is None or steps is None:
        return None
    if model is None or model.shape is None or model.dtype is None:
        return None
    uploads = estimate_uploads(model.shape, model.dtype, settings, device=spec.compute.device)
    model_bytes = model.shape.parameters * BYTES_OF[model.dtype] if model.size_bytes is None else model.size_bytes
    dataset_bytes = None if dataset is None else dataset.size_bytes
    checkpoints = count_checkpoints(steps, spec.checkpoints.every_steps) * uploads.checkpoint_bytes
    total = outline.nodes * (model_bytes + (dataset_bytes or 0)) + checkpoints + uploads.artifact_bytes
    return PlannedTransfers(
        model=write_size(model_bytes),
        dataset=None if dataset_bytes is None else write_size(dataset_bytes),
        checkpoint=write_size(uploads.checkpoint_bytes),
        artifact=write_size(uploads.artifact_bytes),
        total=write_size(total),
    )


def write_size(number: int) -> str:
    """Writes bytes as Kubernetes does, with the unit that fits: 0, 12.3Ki, 1.5Gi."""
    power = min(max(0, number.bit_length() - 1) // _UNIT_BITS, len(_UNITS) - 1)
    return f"{number / 2 ** (_UNIT_BITS * power):.1f}{_UNITS[power]}" if power else str(number)
