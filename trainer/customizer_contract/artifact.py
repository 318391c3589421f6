"""The manifest of a published artifact. It is written last: without it there is no artifact."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from customizer_contract.base import Model

MANIFEST_FILE = "manifest.json"
ALTERNATES = "alternates"
"""Folder of what is published beside the result, and not served."""


class File(Model):
    """A file of the artifact."""

    path: str
    """Relative to the artifact's prefix, with forward slashes."""
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class BaseModelReference(Model):
    """The model that was fine-tuned, or the teacher."""

    uri: str
    """s3://, hf:// or pvc://, as `sources.display` writes it."""
    digest: str
    """sha256 over its config and weights (see `customizer_trainer.storage.digest`)."""
    revision: str | None = None
    """The commit that was downloaded, of a repository of the hub."""


class AdapterReference(Model):
    """What a server must know of a LoRA adapter before it loads it."""

    rank: int
    """Rank of its matrices."""
    alpha: int
    """Its scale."""
    target_modules: list[str]
    """Layers that it adapts."""


class Alternate(Model):
    """Another checkpoint of the same training, published beside the result in the same form."""

    path: str
    """The folder that holds its files."""
    step: int
    checkpoint: str
    """Its name: step and attempt."""
    metrics: dict[str, float]


class JobReference(Model):
    """The job that made the artifact."""

    name: str
    namespace: str
    uid: str
    spec_hash: str


class Manifest(Model):
    """All that a reader needs in order to trust and to serve an artifact."""

    version: Literal["v1alpha1"] = "v1alpha1"
    name: str
    type: Literal["adapter", "model"]
    files: list[File]
    base_model: BaseModelReference
    teacher: BaseModelReference | None = None
    """The model that was learned from, of a distillation."""
    adapter: AdapterReference | None = None
    prompt_format: Literal["completion", "chat"]
    """The endpoint that matches the training data: /v1/completions or /v1/chat/completions."""
    prompt_template: str | None = None
    """The columns of which prompt and completion were made, where the job named them."""
    chat_template_digest: str | None = None
    """sha256 of the chat template of the tokenizer that the data were encoded with."""
    dataset_digest: str
    job: JobReference
    step: int
    checkpoint: str | None = None
    """Name of the checkpoint that this was made of: step and attempt."""
    metrics: dict[str, float]
    alternates: list[Alternate] = Field(default_factory=list)
    """Their files are among `files`."""
    packages: dict[str, str]
    """Versions of the libraries that trained it."""
    created_at: datetime

    @property
    def served_files(self) -> list[File]:
        """The files of the result itself."""
        return [file for file in self.files if not file.path.startswith(f"{ALTERNATES}/")]
