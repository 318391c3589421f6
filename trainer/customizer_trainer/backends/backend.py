"""What a backend is to the commands. Imports nothing of any backend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customizer_contract.artifact import AdapterReference
from customizer_contract.job import Job
from customizer_contract.packing import PackedTraining
from customizer_trainer.model import ModelConfig


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a backend's settings depend on beside the job."""

    model: Path
    model_dtype: str
    """bfloat16, float16 or float32: the data type of the checkpoint."""
    samples: Path
    training_samples: int
    packing: PackedTraining | None
    """How samples share sequences, None if each has one of its own."""
    checkpoints: Path
    resume: Path | None
    """Folder of the checkpoint to go on from."""
    teacher: Path | None = None
    """The model to learn from, of a distillation."""


@dataclass(frozen=True, slots=True)
class Base:
    """The model that was fine-tuned."""

    folder: Path
    name: str
    """What `base_model_name_or_path` of an adapter says: a repository of the hub, or an address."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How one library trains."""

    worker: str
    """The module that torchrun starts as a rank, with the arguments RECIPE EVENTS DEVICE (`training.rank`)."""
    packages: tuple[str, ...]
    """Distributions whose versions the manifest names."""
    own_architectures: frozenset[str]
    """Classes of models that it trains beside those of transformers."""
    build_recipe: Callable[[Job, Inputs], dict[str, Any]]
    """Translates the job to what the worker reads, as JSON: pure."""
    find_packing_obstacle: Callable[[Job, ModelConfig], str | None]
    """Returns why the samples of a job that asks for it cannot be packed, None if they can: pure."""
    warn_of_device: Callable[[Job], list[str]]
    """Names what the job's device cannot do, and what is done instead: pure."""
    warn_of_serving: Callable[[Job], list[str]]
    """Names what will keep servers from using the result as it was trained: pure."""
    published_from: str
    """Pattern of the files of a checkpoint that `assemble` reads: not the optimizer's, which are the larger part."""
    assemble: Callable[[Job, Path, Base, Path], AdapterReference | None]
    """Puts what is published of a checkpoint into a new folder; returns None if that is a model, not an adapter."""
