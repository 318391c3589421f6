"""The job whose artifact a ModelDeployment serves."""

from datetime import datetime
from typing import Literal

from customizer_contract.base import Model
from customizer_operator.api.common import ModelSource, ObjectStorage


class SourceStatus(Model):
    """The job that made the served artifact, and what servers need of it: they go on when it is deleted."""

    job: str
    """Name of the CustomizationJob."""
    created_at: datetime | None = None
    """When it was created; jobs that are older are not gone back to."""
    model: ModelSource
    """The model that it started from: the base of an adapter."""
    object_storage: ObjectStorage
    """How it reaches S3."""
    device: Literal["gpu", "cpu"]
    """What it computes on."""
    held_out_uri: str
    """Its validation records, as its training saw them."""
    prompt_template: str | None = None
    """How it made a prompt of a record."""
