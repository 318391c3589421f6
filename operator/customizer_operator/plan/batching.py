"""How the work is spread over processes, how long it is, and what it takes of each GPU and of the network."""

from customizer_contract.memory import BYTES_OF, estimate_memory
from customizer_contract.result import DatasetFacts, ModelFacts
from customizer_contract.steps import count_steps, data_parallel_size, gradient_accumulation_steps
from customizer_operator.api.customization_job import CustomizationJobSpec
from customizer_operator.api.customization_job_status import PlannedGroup, TrainingPlan
from customizer_operator.plan.placement import find_groups, find_mesh

_GIB = 2**30


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
        estimated_memory_per_gpu=_estimate_memory(spec, dataset, model),
        model_size=_measure_model(model),
        placement=[
            PlannedGroup(
                parallelism=group.parallelism,
                groups=group.count,
                pods=group.size,
                domain=group.domain,
                label=group.label,
                required=group.required,
            )
            for group in groups
        ]
        or None,
    )


def _estimate_memory(spec: CustomizationJobSpec, dataset: DatasetFacts | None, model: ModelFacts | None) -> str | None:
    settings = spec.automodel or spec.unsloth
    if settings is None or model is None or model.shape is None or model.dtype is None:
        return None
    longest = None if dataset is None else dataset.longest_sequence
    estimate = estimate_memory(
        model.shape,
        model.dtype,
        settings,
        device=spec.compute.device,
        longest_sample=longest,
        teacher=model.teacher,
    )
    return _write_size(estimate.total_bytes)


def _measure_model(model: ModelFacts | None) -> str | None:
    if model is None or model.parameters is None or model.dtype is None:
        return None
    return _write_size(model.parameters * BYTES_OF[model.dtype])


def _write_size(number: int) -> str:
    return f"{number / _GIB:.1f}Gi"
