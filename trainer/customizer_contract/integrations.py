"""Trackers that are told of a training while it runs. NeMo Customizer's fields, in camelCase, without secrets."""

from typing import Annotated

from pydantic import Field

from customizer_contract.base import CelRule, Model

URL_PATTERN = r"^https?://[^\s@]+$"
"""A URL without a name and a password, which would be told in messages."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]
TagValue = Annotated[str, Field(max_length=250)]


class Wandb(Model):
    """A run of Weights & Biases."""

    project: str | None = Field(None, min_length=1, max_length=128)
    """Project of the run. Default: the name of the result."""
    name: str | None = Field(None, min_length=1, max_length=128)
    """Name of the run. Default: the job's name."""
    entity: str | None = Field(None, min_length=1, max_length=128)
    """User or team that the project belongs to. Default: that of the API key."""
    tags: list[Tag] | None = Field(None, max_length=16)
    """Tags beside those that every run gets: service, framework, namespace, job, task and model."""
    notes: str | None = Field(None, max_length=1024)
    """What the run is about."""
    base_url: str | None = Field(None, pattern=URL_PATTERN, max_length=1024)
    """URL of a server of one's own. Default: that of Weights & Biases."""


class Mlflow(Model):
    """A run of MLflow."""

    tracking_uri: str = Field(pattern=URL_PATTERN, max_length=1024)
    """URL of the tracking server, as the pods reach it."""
    experiment_name: str | None = Field(None, min_length=1, max_length=128)
    """Experiment of the run; made if it is not there. Default: the name of the result."""
    name: str | None = Field(None, min_length=1, max_length=128)
    """Name of the run. Default: the job's name."""
    tags: dict[str, TagValue] | None = Field(None, max_length=16)
    """Tags beside those that every run gets: service, framework, namespace, job, task and model."""
    description: str | None = Field(None, max_length=1024)
    """What the run is about."""


class Integrations(Model):
    """Trackers that are told of the training while it runs."""

    wandb: Wandb | None = None
    """A run of Weights & Biases."""
    mlflow: Mlflow | None = None
    """A run of MLflow."""

    cel_rules = (CelRule("has(self.wandb) || has(self.mlflow)", "name wandb, mlflow or both, or remove integrations"),)
