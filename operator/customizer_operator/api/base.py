"""What both kinds are built of: names in the cluster, metadata, conditions, the frame of a resource."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from customizer_contract.base import Model

GROUP = "customizer.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "customizer"

JOB_LABEL = f"{GROUP}/customization-job"
"""Name of the CustomizationJob that an object belongs to."""
DEPLOYMENT_LABEL = f"{GROUP}/model-deployment"
"""Name of the ModelDeployment that an object belongs to."""
ATTEMPT_LABEL = f"{GROUP}/attempt"
"""Number of the attempt that an object belongs to."""
FIELD_MANAGER = "customizer"

Object = dict[str, Any]
"""A Kubernetes object as JSON has it. Read at the edge, then parsed into a type."""

IMMUTABLE: JsonDict = {"x-customizer-immutable": True}
"""`json_schema_extra` of a field whose every leaf may never change (see `crds.py`)."""
MUTABLE: JsonDict = {"x-customizer-immutable": False}
"""`json_schema_extra` of a field that may change though it stands within an immutable one."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    type: Literal["string", "integer", "number", "date"]
    json_path: str
    description: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """How a kind is called."""

    kind: str
    plural: str
    singular: str
    short: str


class Metadata(Model):
    """The part of an object's metadata that decisions need."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(Model):
    """One aspect of the state, in the standard shape of Kubernetes (metav1.Condition)."""

    type: str = Field(max_length=316)
    """Name of the aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str = Field(max_length=1024)
    """Why, in one CamelCase word for machines."""
    message: str = Field(max_length=32768)
    """Why, in a sentence for people; where something must be done it says what."""
    last_transition_time: datetime
    """When `status` last changed."""
    observed_generation: int = Field(ge=0)
    """metadata.generation that this was computed for."""


Conditions = Annotated[
    list[Condition],
    Field(
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Resource(Model):
    """The frame of a custom resource; a kind adds `spec` and `status`."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    names: ClassVar[Names]
    columns: ClassVar[tuple[Column, ...]]

    metadata: Metadata
