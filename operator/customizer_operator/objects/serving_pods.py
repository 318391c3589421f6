"""What the pods of a ModelDeployment have in common: what they read, how they reach it, whose they are.

The serving file is an annotation of the pods that read it. So a server never meets the file of another revision, a
changed file rolls the servers, and the operator needs no right to change ConfigMaps.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from customizer_contract.paths import SERVING_FILE
from customizer_contract.serving import Serving
from customizer_operator.api.base import DEPLOYMENT_LABEL, GROUP, Object
from customizer_operator.api.common import ClaimLocation, ModelSource, ObjectStorage, Resources, SecretKeyReference
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.objects.names import build_labels, build_owner
from customizer_operator.objects.pods import (
    COMMAND,
    CONFIG_VOLUME,
    build_container_security,
    build_environment,
    build_resources,
)

VERIFY = "verify"
"""Component and container of the Job that verifies."""
STAGE = "stage"
"""Init container that brings the weights."""
SERVER = "server"
"""Component and container that answers requests."""
CANARY = "canary"
"""Component of a server that is tried, and answers no requests."""
MODEL_VOLUME = "model"
"""Use of a claim that holds the base model."""
FILE_ANNOTATION = f"{GROUP}/serving"
"""The serving file, on the pods that read it."""

_RESOURCES = Resources(requests={"cpu": "100m", "memory": "256Mi"})


@dataclass(frozen=True, slots=True)
class Access:
    """How the pods reach what is served."""

    storage: ObjectStorage
    model: ModelSource | None
    """A base model that the spec or the job names."""
    device: Literal["gpu", "cpu"]

    @property
    def claims(self) -> Mapping[str, ClaimLocation]:
        """The claim of the base model, by use."""
        claim = self.model.persistent_volume_claim if self.model else None
        return {MODEL_VOLUME: claim} if claim else {}

    @property
    def token(self) -> SecretKeyReference | None:
        """The Hugging Face token of the base model."""
        hub = self.model.hugging_face if self.model else None
        return hub.token_secret_ref if hub else None


def file_digest(serving: Serving) -> str:
    """Returns the sha256 of a serving file."""
    return hashlib.sha256(serving.to_json().encode()).hexdigest()


def find_file(item: Object) -> str | None:
    """Returns the serving file that the pods of a Job or Deployment read."""
    annotations: dict[str, str] = item["spec"]["template"]["metadata"].get("annotations") or {}
    return annotations.get(FILE_ANNOTATION)


def annotate(serving: Serving) -> dict[str, str]:
    """Returns the annotations of a pod that reads the serving file."""
    return {FILE_ANNOTATION: serving.to_json()}


def build_file_volume(*more: Object) -> Object:
    """Volume with the serving file, and with more items of the pod's metadata."""
    field = {"fieldPath": f"metadata.annotations['{FILE_ANNOTATION}']"}
    return {"name": CONFIG_VOLUME, "downwardAPI": {"items": [{"path": SERVING_FILE.name, "fieldRef": field}, *more]}}


def build_container(deployment: ModelDeployment, access: Access, command: str, image: str) -> Object:
    """A container of the io image, without its mounts."""
    return {
        "name": command,
        "image": image,
        "imagePullPolicy": deployment.spec.image_pull_policy,
        "command": [*COMMAND, command],
        "env": build_environment(access.storage, access.token),
        "resources": build_resources(_RESOURCES),
        "securityContext": build_container_security(),
        "terminationMessagePolicy": "File",
    }


def build_metadata(deployment: ModelDeployment, name: str, component: str) -> Object:
    """Metadata of an object that goes with its ModelDeployment."""
    return {
        "name": name,
        "namespace": deployment.metadata.namespace,
        "labels": build_pod_labels(deployment, component),
        "ownerReferences": [build_owner("ModelDeployment", deployment.metadata)],
    }


def build_pod_labels(deployment: ModelDeployment, component: str) -> dict[str, str]:
    """Labels of an object of a ModelDeployment, and of its pods."""
    return build_labels(DEPLOYMENT_LABEL, deployment.metadata.name, component)
