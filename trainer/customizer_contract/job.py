"""The job file: everything that the trainer is told, save secrets and torchrun's rendezvous.

The operator writes it to a ConfigMap; every pod of the job mounts it read-only.
"""

import hashlib
from typing import Literal, Self

from pydantic import Field, model_validator

from customizer_contract.automodel import Automodel
from customizer_contract.base import Model
from customizer_contract.integrations import Integrations
from customizer_contract.outline import Outline
from customizer_contract.sources import FILE_SCHEME, OUTPUT_URI_PATTERN, LocalSource, ObjectStorage, Source
from customizer_contract.unsloth import Unsloth


class ModelInput(Model):
    """The model to start from."""

    source: Source = Field(discriminator="kind")
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run."""


PREFLIGHT_FILE = "preflight.json"
"""Below a job's `work_uri`: the report of preflight."""
HELD_OUT_FILE = "held-out.jsonl"
"""Below a job's `work_uri`: validation records as they were written, for asking a served model."""

PROMPT_TEMPLATE_PATTERN = r"^\s*\{[^{}]+\}\s*\{[^{}]+\}\s*$"
"""The names of two columns of the records, in braces."""


class DatasetInput(Model):
    """The data to train on."""

    training: Source = Field(discriminator="kind")
    validation: Source | None = Field(None, discriminator="kind")
    prompt_template: str | None = Field(None, pattern=PROMPT_TEMPLATE_PATTERN)
    """Two columns as `{column} {column}`; the last placeholder is the completion."""


class CheckpointPolicy(Model):
    """When progress is saved to S3, so that a later attempt can resume from it."""

    every_steps: int | None = Field(None, ge=1)
    """Optimizer steps between checkpoints, beside those after each validation."""
    every_minutes: float = Field(30, gt=0, le=10_080)
    """Minutes after which a checkpoint is due, if none was saved: no more work than this is ever lost."""
    keep: int = Field(2, ge=1, le=100)
    """Newest checkpoints that stay in S3, beside the best one. With 2, a damaged newest one costs little."""


class Job(Model):
    """One CustomizationJob, as the trainer reads it."""

    version: Literal["v1alpha1"] = "v1alpha1"
    name: str
    namespace: str
    uid: str
    """UID of the CustomizationJob: tells a re-created job of the same name from its predecessor."""
    spec_hash: str
    """sha256 of all that the job is made of (not of suspend, compute and the like)."""
    device: Literal["gpu", "cpu"]
    model: ModelInput
    teacher: ModelInput | None = None
    """The model to learn from, of a distillation."""
    dataset: DatasetInput
    automodel: Automodel | None = None
    unsloth: Unsloth | None = None
    """The backend: exactly one of the two."""
    gpu_memory_bytes: int | None = Field(None, ge=1)
    """What a GPU holds, if it is known; preflight refuses what will not fit."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    integrations: Integrations | None = None
    """Trackers; their secrets come by the environment."""
    storage: ObjectStorage = ObjectStorage()
    artifact_name: str
    """Name under which the result will be served."""
    artifact_uri: str = Field(pattern=OUTPUT_URI_PATTERN)
    """Prefix that will hold the artifact's files and, written last, `manifest.json`; for `run`, a folder, too."""

    @model_validator(mode="after")
    def _name_one_backend(self) -> Self:
        if (self.automodel is None) == (self.unsloth is None):
            raise ValueError("name exactly one of automodel and unsloth")
        distills = self.automodel is not None and self.automodel.training.distills
        if distills != (self.teacher is not None):
            raise ValueError("trainingType distillation and a teacher go together")
        return self

    @property
    def settings(self) -> Automodel | Unsloth:
        """What is asked of the backend that the job names."""
        settings = self.automodel or self.unsloth
        if settings is None:
            raise ValueError("name exactly one of automodel and unsloth")
        return settings

    @property
    def outline(self) -> Outline:
        """What the backend's settings come down to."""
        return self.settings.outline

    @property
    def needs_this_machine(self) -> bool:
        """Whether paths of a machine are named, rather than what every pod can reach."""
        models = [model.source for model in (self.model, self.teacher) if model is not None]
        sources = (*models, self.dataset.training, self.dataset.validation)
        return self.artifact_uri.startswith(FILE_SCHEME) or any(isinstance(source, LocalSource) for source in sources)

    def digest(self) -> str:
        """Returns the sha256 of what is trained, whoever asks for it: what `spec_hash` is."""
        unasked = {"name": "", "namespace": "", "uid": "", "spec_hash": "", "gpu_memory_bytes": None}
        asked = self.model_copy(update={**unasked, "integrations": None})
        return hashlib.sha256(asked.to_json().encode()).hexdigest()

    @property
    def work_uri(self) -> str:
        """Prefix of what is not part of the artifact: checkpoints and the preflight report of this very job."""
        return f"{self.artifact_uri.rstrip('/')}.work/{self.uid}"
