"""What a tracker is told of a training: pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from customizer_contract.job import Job
from customizer_contract.sources import HuggingFaceSource, display
from customizer_trainer.training.events import Event, Stepped, Validated

_VALUE_LIMIT = 250


@dataclass(frozen=True, slots=True)
class Values:
    """Numbers of one step."""

    step: int
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Record:
    """What is told of a run when it begins."""

    identity: str
    """The same in every attempt of a job, so that they make one run."""
    project: str
    name: str
    tags: dict[str, str]
    settings: dict[str, str]
    """What the training is asked for, by dotted path."""
    every_steps: int = field(default=1)
    """Steps between the values that are told."""


def describe(job: Job) -> Record:
    """Returns what every tracker is told of a job, by its defaults."""
    framework = "unsloth" if job.unsloth is not None else "automodel"
    source = job.model.source
    model = source.repo if isinstance(source, HuggingFaceSource) else display(source)
    backend = job.unsloth or job.automodel
    settings = {} if backend is None else backend.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Record(
        identity=job.uid,
        project=job.artifact_name,
        name=job.name,
        tags={
            "service": "customizer",
            "framework": framework,
            "namespace": job.namespace,
            "job": job.name,
            "task": "sft" if job.automodel is None else job.automodel.training.training_type,
            "model": model[:_VALUE_LIMIT],
        },
        settings=dict(_flatten({"model": model, "dataset": display(job.dataset.training), framework: settings})),
        every_steps=job.outline.log_every_steps,
    )


def read_values(event: Event, every_steps: int) -> Values | None:
    """Returns the numbers of an event that a tracker is told, None if there are none."""
    match event:
        case Stepped() if event.step % every_steps == 0:
            numbers = {
                "train/loss": event.loss,
                "train/learning_rate": event.learning_rate,
                "train/grad_norm": event.gradient_norm,
                "train/epoch": event.epoch,
                "train/tokens_per_second": event.tokens_per_second,
            }
            return Values(event.step, {name: number for name, number in numbers.items() if number is not None})
        case Validated():
            return Values(event.step, {"eval/loss": event.loss})
        case _:
            return None


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)[:_VALUE_LIMIT]
