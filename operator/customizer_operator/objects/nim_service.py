"""The NIMService of a ModelDeployment: NVIDIA's operator makes the Deployment and the Service of it.

Its pods are not restricted, and hold neither our volumes nor our sidecar. What they do hold is our `stage` container,
before the server: so they, too, serve nothing that differs from the manifest. The serving file, an annotation of the
pods as always, reaches it by its environment.
"""

import hashlib
import json

from customizer_contract.paths import SERVING_VARIABLE
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.api.common import Placement, Resources
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_runtime import PORT, Runtime
from customizer_operator.objects.pods import COMMAND, build_environment, build_resources
from customizer_operator.objects.serving import DIGEST_ANNOTATION
from customizer_operator.objects.serving_companions import build_selector
from customizer_operator.objects.serving_engine import Engine
from customizer_operator.objects.serving_pods import FILE_ANNOTATION, SERVER, STAGE, Access, annotate, build_metadata
from customizer_operator.objects.serving_server import build_server_environment, build_server_probe

SCRATCH = "/scratch"
"""Writable disk of its pods beside the model store."""
SERVER_SUFFIX = "-ctr"
"""NVIDIA's operator calls the server's container so, after the NIMService's name."""


def build_nim_service(
    deployment: ModelDeployment, serving: Serving, access: Access, engine: Engine, *, io_image: str, image: str
) -> Object:
    """Builds the NIMService."""
    spec = _build_spec(deployment, access, engine, io_image, image)
    annotations = annotate(serving)
    # How many there are is no part of what they are: pods carry the digest, and must not roll for their number.
    digest = hashlib.sha256(json.dumps([spec, annotations], sort_keys=True).encode()).hexdigest()
    marked = {DIGEST_ANNOTATION: digest}
    return _build_service(deployment, marked, {**spec, "annotations": annotations | marked})


def hold_nim_service(deployment: ModelDeployment, present: Object) -> Object | None:
    """Builds the NIMService as it is, but in the number of its servers; None if nothing changes."""
    held = _build_service(deployment, present["metadata"].get("annotations") or {}, present["spec"])
    return None if held["spec"] == present["spec"] else held


def _build_service(deployment: ModelDeployment, annotations: dict[str, str], spec: Object) -> Object:
    replicas = 0 if deployment.spec.suspend else deployment.spec.replicas
    return {
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMService",
        "metadata": {**build_metadata(deployment, deployment.metadata.name, SERVER), "annotations": annotations},
        "spec": {**spec, "replicas": replicas},
    }


def split_image(image: str) -> Object:
    """Splits an image's name as a NIMService wants it; it puts both together again by a colon."""
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return {"repository": image, "tag": "latest"}
    return {"repository": repository, "tag": tag}


def _build_spec(deployment: ModelDeployment, access: Access, engine: Engine, io_image: str, image: str) -> Object:
    spec = deployment.spec
    gpus = {spec.gpu_resource: str(spec.runtime.tensor_parallel_size)} if access.device == "gpu" else {}
    resources = build_resources(spec.resources or Resources(), gpus)
    service = {"type": spec.service.type, "port": PORT}
    probe: Object = {"ready": engine.ready, "live": engine.live}
    return {
        "image": _pull(image, spec),
        "env": build_server_environment(spec, access, engine),
        "storage": {
            "emptyDir": {},
            **({"sharedMemorySizeLimit": spec.shared_memory} if spec.shared_memory is not None else {}),
        },
        # On Deployment, Service and pods: by these the operator finds them.
        "labels": build_selector(deployment),
        "initContainers": [_build_stage(access, io_image, spec)],
        "startupProbe": {"enabled": True, "probe": build_server_probe(probe["ready"], period=10, failures=180)},
        "readinessProbe": {"enabled": True, "probe": build_server_probe(probe["ready"], period=5, failures=3)},
        "livenessProbe": {"enabled": True, "probe": build_server_probe(probe["live"], period=10, failures=6)},
        "expose": {
            "service": {**service, **({"annotations": spec.service.annotations} if spec.service.annotations else {})}
        },
        **_build_licence(spec.runtime),
        **({"resources": resources} if resources else {}),
        **_build_affinity(spec.node_selector or {}),
        **(
            {"tolerations": [entry.model_dump(by_alias=True, exclude_none=True) for entry in spec.tolerations]}
            if spec.tolerations
            else {}
        ),
        **({"priorityClassName": spec.priority_class_name} if spec.priority_class_name else {}),
    }


def _build_licence(runtime: Runtime) -> Object:
    """Names the Secret whose name NVIDIA's operator wants in every NIMService; which key of it counts, `env` tells."""
    secret = runtime.ngc_secret_ref
    return {} if secret is None else {"authSecret": secret.name}


def _build_affinity(labels: dict[str, str]) -> Object:
    """Asks for nodes with labels. Its nodeSelector takes no `"true"` and no `"1"`: it drops the quotes."""
    if not labels:
        return {}
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())]
    required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def _build_stage(access: Access, image: str, placement: Placement) -> Object:
    field = {"fieldPath": f"metadata.annotations['{FILE_ANNOTATION}']"}
    return {
        "name": STAGE,
        "image": _pull(image, placement),
        "command": [*COMMAND, STAGE],
        "env": [
            *build_environment(access.storage, access.token),
            # It is given the server's variables, too, and those keep the server off the hub.
            {"name": "HF_HUB_OFFLINE", "value": "0"},
            {"name": "HF_HOME", "value": f"{SCRATCH}/huggingface"},
            {"name": SERVING_VARIABLE, "valueFrom": {"fieldRef": field}},
        ],
    }


def _pull(image: str, placement: Placement) -> Object:
    secrets = [secret.name for secret in placement.image_pull_secrets or ()]
    return {
        **split_image(image),
        "pullPolicy": placement.image_pull_policy,
        **({"pullSecrets": secrets} if secrets else {}),
    }
