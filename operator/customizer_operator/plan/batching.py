"""How the work is spread over processes, and how many steps it takes."""

from customizer_contract.outline import Outline
from customizer_contract.steps import count_steps, data_parallel_size, gradient_accumulation_steps
from customizer_operator.api.customization_job_status import TrainingPlan


def plan_training(outline: Outline, training_samples: int | None) -> TrainingPlan:
    """Returns the plan; its steps are known once preflight has counted the samples."""
    steps = None if training_samples is None else count_steps(outline, training_samples)
    return TrainingPlan(
        nodes=outline.nodes,
        gpus_per_node=outline.processes,
        world_size=outline.world_size,
        tensor_parallel_size=outline.tensor_parallel_size,
        pipeline_parallel_size=outline.pipeline_parallel_size,
        context_parallel_size=outline.context_parallel_size,
        expert_parallel_size=outline.expert_parallel_size,
        data_parallel_size=data_parallel_size(outline),
        gradient_accumulation_steps=gradient_accumulation_steps(outline),
        steps_per_epoch=None if steps is None else steps.per_epoch,
        total_steps=None if steps is None else steps.total,
    )
