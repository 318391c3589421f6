"""How a container of ours ends: one JSON object in its termination message, at most 4096 bytes."""

from typing import Literal

from pydantic import Field

from customizer_contract.artifact import AdapterReference
from customizer_contract.base import Model
from customizer_contract.errors import Reason
from customizer_contract.packing import PackedTraining
from customizer_contract.shape import Dtype, ModelShape

MESSAGE_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""


class Problem(Model):
    """One error of the catalogue, with the place where it stands."""

    reason: Reason
    message: str
    """One or two sentences: what is wrong, and what to change."""
    file: str | None = None
    line: int | None = None
    field: str | None = None
    rank: int | None = None
    """The first process of the attempt that failed, when one did."""


class Lengths(Model):
    """Tokens a sample."""

    mean: float
    """Average."""
    p50: int
    """Half of the samples are no longer than this."""
    p95: int
    """95 percent of the samples are no longer than this."""
    p99: int = 0
    """99 percent of the samples are no longer than this."""
    max: int
    """The longest sample."""


class SplitFacts(Model):
    """What preflight found in a split of the data."""

    samples: int
    """Samples that are trained, or validated on."""
    tokens: int
    """Tokens after truncation, that is, what an epoch trains on."""
    lengths: Lengths
    """Before truncation."""
    truncated: int = 0
    """Samples that lost the start of their prompt."""
    dropped: int = 0
    """Samples that do not fit even so; they are not trained."""
    duplicates: int = 0
    """Samples that repeat an earlier one of the split exactly; they are trained again."""


class PackingFacts(Model):
    """What packing brings, or would bring, to the training samples."""

    size: int
    """Tokens that a pack holds at most."""
    packs: int
    """Packs of all training samples."""
    samples_per_pack: float
    """Samples in a pack, on average."""
    fill: float
    """Share of the packs' tokens that are samples', from 0 to 1."""
    padding_without: float
    """Share of a micro batch's tokens that is padding where samples are not packed, from 0 to 1."""


class DatasetFacts(Model):
    """What preflight found in the data."""

    format: Literal["prompt-completion", "chat", "text"]
    """What the records are."""
    training: SplitFacts
    """What is trained on."""
    validation: SplitFacts
    """What is validated on."""
    overlap: int = 0
    """Validation samples that occur in the training data too."""
    empty_rows: int = 0
    """Blank lines, which are skipped."""
    packing: PackingFacts | None = None
    """What packing brings, or would bring."""
    packed: PackedTraining | None = None
    """How training samples share sequences; absent when each has one of its own."""
    digest: str
    """sha256 over the files of both."""
    size_bytes: int | None = None
    """Bytes of these files that each pod fetches; 0 from a mounted volume."""
    report_uri: str | None = None
    """Where the whole report of preflight is."""

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest sequence that is trained."""
        return self.training.lengths.max if self.packed is None else self.packed.size

    @property
    def packs_per_micro_batch(self) -> int | None:
        """Sequences that a process holds at once, where samples share them."""
        return None if self.packed is None else self.packed.packs_per_micro_batch


class ModelFacts(Model):
    """What preflight found in the model's configuration."""

    architecture: str
    """Its class in transformers."""
    parameters: int | None = None
    """Number of its weights."""
    context_length: int | None = None
    """Tokens that it can take."""
    dtype: Dtype | None = None
    """Data type of its weights."""
    size_bytes: int | None = None
    """Bytes that each pod fetches of it, and of its teacher: weights, configuration, tokenizer; 0 from a volume."""
    shape: ModelShape | None = None
    """Its measures, where the configuration says them in the usual words."""
    teacher: ModelShape | None = None
    """The measures of the model that is learned from, of a distillation."""


class TrainingFacts(Model):
    """What a training attempt reached."""

    step: int
    total_steps: int
    train_loss: float | None = None
    validation_loss: float | None = None
    resumed_from_step: int | None = None
    checkpoint_step: int | None = None


class ArtifactReference(Model):
    """A published artifact."""

    name: str
    """The manifest's name: what it is served as unless the deployment says otherwise."""
    uri: str
    """The prefix that holds it."""
    manifest_digest: str
    """sha256 of manifest.json."""
    type: Literal["adapter", "model"]
    """A LoRA adapter, or a full model."""
    base_model: str
    """The model that was fine-tuned."""
    size_bytes: int
    """Size of all of its files."""
    prompt_format: Literal["completion", "chat"]
    """How it wants to be asked: /v1/completions or /v1/chat/completions."""
    adapter: AdapterReference | None = None
    """Only of an adapter."""


class BaseVersion(Model):
    """Which state of a base model was verified: one that is published by nobody of ours has no manifest."""

    digest: str
    """sha256 over the names and versions of its files: ETags in S3, contents on the hub, times on a volume."""
    revision: str | None = None
    """The commit, of a model on the hub."""


class Result(Model):
    """The end of a container: what it did, or the one error that stopped it."""

    command: Literal["preflight", "fetch", "train", "run", "verify", "stage", "sidecar"]
    error: Problem | None = None
    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None
    training: TrainingFacts | None = None
    artifact: ArtifactReference | None = None
    base: BaseVersion | None = None
    """The base model that `verify` found, if one is to be staged."""
    warnings: list[str] = Field(default_factory=list, max_length=20)
