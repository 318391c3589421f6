"""How the training samples of a job share sequences, if they can."""

from collections.abc import Sequence
from dataclasses import replace

from customizer_contract.job import Job
from customizer_contract.outline import Outline
from customizer_contract.packing import PackedTraining, fit_batch
from customizer_contract.result import PackingFacts
from customizer_contract.steps import data_parallel_size
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.datasets.prepare import Prepared
from customizer_trainer.model import ModelConfig


def pack_prepared(job: Job, prepared: Prepared, models: Sequence[ModelConfig]) -> Prepared:
    """Adds how the training samples are packed, or a warning that says why they are not: all models must allow it."""
    facts = prepared.facts
    if not job.outline.packs or facts.packing is None:
        return prepared
    packed = plan_packing(job.outline, facts.packing)
    obstacles = (find_backend(job).find_packing_obstacle(job, config) for config in models)
    obstacle = next((each for each in obstacles if each is not None), None)
    if obstacle is None and packed.packs_per_micro_batch % job.outline.pipeline_parallel_size:
        obstacle = "a micro batch would hold fewer packs than pipelineParallelSize needs; raise globalBatchSize"
    if obstacle is not None:
        return replace(prepared, warnings=[*prepared.warnings, f"Samples are not packed: {obstacle}."])
    return replace(prepared, facts=facts.model_copy(update={"packed": packed}))


def plan_packing(outline: Outline, facts: PackingFacts) -> PackedTraining:
    """Counts the packs of a step."""
    batch = fit_batch(
        outline.global_batch_size,
        outline.micro_batch_size,
        replicas=data_parallel_size(outline),
        samples_per_pack=facts.samples_per_pack,
    )
    return PackedTraining(
        size=facts.size,
        packs=facts.packs,
        packs_per_step=batch.packs_per_step,
        packs_per_micro_batch=batch.packs_per_micro_batch,
    )
