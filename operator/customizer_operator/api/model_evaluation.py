"""The evaluation of a ModelDeployment: held-out questions, and what a version must score to take over."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.evaluation import Metric
from customizer_contract.job import PROMPT_TEMPLATE_PATTERN
from customizer_contract.result import ArtifactReference
from customizer_operator.api.common import S3Location


class EvaluationDataset(Model):
    """Held-out records, in the formats of a training: prompt and completion, or messages."""

    s3: S3Location
    """A file or a folder in the store of spec.objectStorage; of a folder the files whose names say validation, or all
    if none does."""


class Evaluation(Model):
    """Held-out questions that one server of each version is asked, once. status.evaluation has the score."""

    dataset: EvaluationDataset | None = None
    """What is asked. Default: the validation records of the job in customizationJobRef, split off or not; its
    preflight keeps up to 1000 of them beside the artifact."""
    prompt_template: str | None = Field(None, pattern=PROMPT_TEMPLATE_PATTERN, max_length=512)
    """Two columns as `{column} {column}`; the last one is the expected answer. Default: that of the job whose data it
    is, else prompt and completion."""
    metric: Metric = "ExactMatch"
    """ExactMatch: the share of answers that are the expected ones, blanks around them aside. Contains: the share that
    hold them. Loss: how likely the server finds a token of the expected answers, e to the power of minus their mean
    loss, which is that of a training's validation; of full weights alone."""
    max_samples: int = Field(100, ge=1, le=1000)
    """Samples that are asked at most; of more, each has the same chance, and it is always the same ones."""
    max_tokens: int = Field(64, ge=1, le=4096)
    """Length of an answer."""
    timeout_seconds: int = Field(60, ge=1, le=600)
    """Each answer must be complete within."""


class Rollout(Model):
    """How another version - another artifact, or a server started otherwise - takes over."""

    strategy: Literal["RollingUpdate", "Canary"] = "RollingUpdate"
    """RollingUpdate: servers are replaced one by one as soon as a new one answers. Canary: one server of the new
    version is started that gets no requests, and asked spec.evaluation; only if it is good enough are the others
    replaced."""
    minimum_score: float | None = Field(None, ge=0, le=1)
    """What a version must score at least."""
    compare_with: Literal["Previous", "None"] = "Previous"
    """Previous: with strategy Canary, a version must be at least as good as the one that is served, which is asked the
    same. None: the bound alone decides."""

    cel_rules = (
        CelRule(
            "self.strategy == 'Canary' || !has(self.minimumScore)",
            "minimumScore goes with strategy: Canary",
        ),
        CelRule(
            "self.strategy != 'Canary' || self.compareWith != 'None' || has(self.minimumScore)",
            "nothing decides about a canary: give minimumScore, or set compareWith to Previous",
        ),
    )


EVALUATION_RULES = (
    CelRule(
        "!has(self.rollout) || self.rollout.strategy != 'Canary' || has(self.evaluation)",
        "a canary is judged by its score: add evaluation",
    ),
    CelRule(
        "!has(self.evaluation) || self.evaluation.metric != 'Loss' || !has(self.runtime.lora)",
        "a server with room for adapters cannot be asked for a loss: choose metric ExactMatch or Contains, or remove "
        "runtime.lora",
    ),
    CelRule(
        "!has(self.evaluation) || self.evaluation.metric != 'Loss' || self.weights != 'Direct'",
        "the loss takes the tokenizer, which is not staged with weights: Direct; choose metric ExactMatch or Contains, "
        "or weights: Staged",
    ),
)
"""What evaluation and rollout ask of each other."""


class EvaluationStatus(Model):
    """How a version has answered."""

    score: float
    """By the metric; from 0 to 1, more is better."""
    loss: float | None = None
    """Mean loss of a token of the expected answers; by metric Loss alone."""
    metric: Metric
    """What the score is."""
    samples: int
    """Samples that were asked."""
    refused: int | None = None
    """Samples that the server did not take; they count as wrong, and have no loss."""
    manifest_digest: str | None = None
    """sha256 of the manifest of the artifact that answered; absent for a base model."""
    dataset_digest: str | None = None
    """sha256 over the files that the samples are from."""
    evaluated_at: datetime
    """When the answers were summed up."""
    message: str | None = None
    """What the server said to samples that it did not take."""
    question: str
    """sha256 of what was asked, and of which version; other questions, and other versions, are asked anew."""


class RolloutStatus(Model):
    """The newest version that was tried by a canary."""

    candidate: str
    """sha256 of the version, of what it is asked and of what it must score; another one is tried anew."""
    outcome: Literal["Trying", "Promoted", "RolledBack"]
    """Trying: a canary is started and asked. RolledBack: it was not good enough, and what was served before is."""
    artifact: ArtifactReference | None = None
    """What is tried; absent for a base model."""
    evaluation: EvaluationStatus | None = None
    """How it has answered."""
    previous: EvaluationStatus | None = None
    """How the version that was served meanwhile has answered."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, in a sentence."""
