"""Adapters of a ModelDeployment: LoRA adapters that come and go while the server runs."""

from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.sources import S3_URI_PATTERN
from customizer_operator.api.common import Name, ServedName


class JobReference(Model):
    """A CustomizationJob of the same namespace."""

    name: Name
    """Name of the job. The deployment waits for it, and serves what it publishes."""


class PublishedArtifact(Model):
    """A published artifact."""

    uri: str = Field(pattern=S3_URI_PATTERN, max_length=1024)
    """Where it was published: the prefix that holds manifest.json."""
    manifest_digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of manifest.json. Another manifest is refused. Default: whatever is there."""


class Adapter(Model):
    """A LoRA adapter of the served base model."""

    name: ServedName
    """What requests name in their `model`."""
    customization_job_ref: JobReference | None = None
    """What a CustomizationJob publishes. Its store must be that of the deployment."""
    artifact: PublishedArtifact | None = None
    """What some job has published."""

    cel_rules = (
        CelRule(
            "has(self.customizationJobRef) != has(self.artifact)",
            "name exactly one of customizationJobRef and artifact",
        ),
    )


class AdapterStatus(Model):
    """An adapter as the servers have it."""

    name: str
    """What requests name in their `model`."""
    ready: str
    """Replicas that answer to the name with this artifact, of those asked for: 2/2."""
    uri: str | None = None
    """Where it was published."""
    manifest_digest: str | None = None
    """sha256 of its manifest."""
    endpoint: Literal["/v1/completions", "/v1/chat/completions"] | None = None
    """The path that goes with how it was trained."""
    reason: str | None = None
    """Why it is not ready, in one word."""
    message: str | None = None
    """What it waits for, or what to change."""
