"""The Deployment of a ModelDeployment's servers: how many there are, and what tells one version from another."""

import hashlib
import json

from customizer_contract.serving import Serving
from customizer_operator.api.base import GROUP, Object
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.objects.serving_companions import build_selector
from customizer_operator.objects.serving_engine import Engine
from customizer_operator.objects.serving_pods import SERVER, STAGE, Access, build_metadata
from customizer_operator.objects.serving_server import build_pod_template

DIGEST_ANNOTATION = f"{GROUP}/spec-digest"
"""sha256 of the spec that the operator gave the Deployment: tells whether it is the newest."""
VERSION_ANNOTATION = f"{GROUP}/version"
"""sha256 of the pods that a Deployment makes: tells what is served, whatever the number of servers."""
_DEADLINE_SECONDS = 3600
MIN_READY_SECONDS = 2
"""How long a server stays ready before another makes way for it: nodes learn of it from the Service only then."""


def build_url(deployment: ModelDeployment) -> str:
    """Returns the address of the Service inside the cluster."""
    metadata = deployment.metadata
    return f"http://{metadata.name}.{metadata.namespace}.svc:{deployment.spec.service.port}"


def build_servers(
    deployment: ModelDeployment,
    serving: Serving,
    access: Access,
    engine: Engine,
    *,
    io_image: str,
    image: str,
    present: Object | None = None,
) -> Object:
    """Builds the servers' Deployment; `present` is the one that is there."""
    template = build_pod_template(deployment, serving, access, engine, io_image=io_image, image=image)
    spec = _build_spec(deployment, template)
    replicas = find_replicas(deployment, present)
    # How many there are is no part of what they are: an autoscaler changes it.
    digest = _digest(spec if deployment.spec.autoscaling else {**spec, "replicas": replicas})
    annotations = {DIGEST_ANNOTATION: digest, VERSION_ANNOTATION: _digest_pods(template)}
    return _build_deployment(deployment, annotations, {"replicas": replicas, **spec})


def hold_servers(deployment: ModelDeployment, present: Object) -> Object | None:
    """Builds the servers with the pods that are there: number and strategy change, the version does not.

    None if nothing changes at all.
    """
    spec = {
        "replicas": find_replicas(deployment, present),
        **_build_spec(deployment, present["spec"]["template"]),
    }
    if all(present["spec"].get(key) == value for key, value in spec.items()):
        return None
    found = present["metadata"].get("annotations") or {}
    kept = {key: found[key] for key in (DIGEST_ANNOTATION, VERSION_ANNOTATION) if key in found}
    return _build_deployment(deployment, kept, spec)


def find_replicas(deployment: ModelDeployment, present: Object | None) -> int:
    """Returns how many servers there must be; an autoscaler's choice is kept within its bounds."""
    spec = deployment.spec
    if spec.suspend:
        return 0
    if spec.autoscaling is None:
        return spec.replicas
    chosen = present["spec"].get("replicas", 0) if present is not None else 0
    return min(max(chosen, spec.autoscaling.min_replicas), spec.autoscaling.max_replicas)


def find_digest(item: Object) -> str | None:
    """Returns the digest of the spec that the operator gave a Deployment."""
    annotations: dict[str, str] = item["metadata"].get("annotations") or {}
    return annotations.get(DIGEST_ANNOTATION)


def find_version(item: Object) -> str | None:
    """Returns the version that a Deployment serves."""
    annotations: dict[str, str] = item["metadata"].get("annotations") or {}
    return annotations.get(VERSION_ANNOTATION)


def find_stage_image(item: Object) -> str | None:
    """Returns the image that stages the weights in the pods of a Deployment."""
    containers: list[Object] = item["spec"]["template"]["spec"].get("initContainers") or []
    return next((container["image"] for container in containers if container["name"] == STAGE), None)


def _build_spec(deployment: ModelDeployment, template: Object) -> Object:
    """Spec of the Deployment without the number of servers."""
    return {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": _DEADLINE_SECONDS,
        "minReadySeconds": MIN_READY_SECONDS,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": deployment.spec.update_strategy.model_dump(by_alias=True),
        },
        "selector": {"matchLabels": build_selector(deployment)},
        "template": template,
    }


def _build_deployment(deployment: ModelDeployment, annotations: dict[str, str], spec: Object) -> Object:
    metadata = build_metadata(deployment, deployment.metadata.name, SERVER)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": annotations},
        "spec": spec,
    }


def _digest(value: Object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_pods(template: Object) -> str:
    """Leaves out the images of our own containers: another release of ours brings the same weights."""
    ours = [{**container, "image": None} for container in template["spec"]["initContainers"]]
    return _digest({**template, "spec": {**template["spec"], "initContainers": ours}})
