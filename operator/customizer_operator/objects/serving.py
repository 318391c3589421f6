"""The servers of a ModelDeployment and the Service in front of them."""

import hashlib
import json

from customizer_contract.paths import CHAT_TEMPLATE, MODEL_CACHE, MODEL_STORE
from customizer_contract.serving import Serving
from customizer_operator.api.base import GROUP, Object
from customizer_operator.api.common import Resources
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentSpec, WeightCache
from customizer_operator.api.model_runtime import PORT, Runtime
from customizer_operator.objects.pods import (
    build_claim_mounts,
    build_claim_volumes,
    build_config_mount,
    build_container_security,
    build_pod_spec,
    build_resources,
    build_shared_memory_mount,
    build_shared_memory_volume,
    build_store_environment,
    build_tmp_mount,
    build_tmp_volume,
)
from customizer_operator.objects.serving_companions import (
    PORT_NAME,
    build_selector,
)
from customizer_operator.objects.serving_engine import CACHE, Engine
from customizer_operator.objects.serving_pods import (
    SERVER,
    STAGE,
    Access,
    annotate,
    build_container,
    build_file_volume,
    build_metadata,
    build_pod_labels,
)
from customizer_operator.objects.serving_sidecar import build_key, build_sidecar, build_wish_item, needs_sidecar

DIGEST_ANNOTATION = f"{GROUP}/spec-digest"
"""sha256 of the spec that the operator gave the Deployment: tells whether it is the newest."""
VERSION_ANNOTATION = f"{GROUP}/version"
"""sha256 of the pods that a Deployment makes: tells what is served, whatever the number of servers."""

_TEMPLATE_ANNOTATION = f"{GROUP}/chat-template"
"""The chat template, on the pods whose server reads it; a changed one rolls them."""

_LICENCE = "NGC_API_KEY"
_TEMPLATE_VOLUME = "chat-template"
_STORE_VOLUME = "model-store"
_CACHE_VOLUME = "cache"
_SHARED_VOLUME = "model-cache"
_SHARED_MOUNT: Object = {"name": _SHARED_VOLUME, "mountPath": str(MODEL_CACHE)}
_DRAIN_SECONDS = 30
_GRACE_SECONDS = 30
"""What a server has to end in after it was told to, before it is killed."""
_DEADLINE_SECONDS = 3600


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
    template: Object = {
        "metadata": {
            "labels": build_pod_labels(deployment, SERVER),
            "annotations": annotate(serving) | _annotate_template(deployment.spec.runtime),
        },
        "spec": _build_server_pod(deployment, access, engine, io_image, image),
    }
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


def _build_server_pod(deployment: ModelDeployment, access: Access, engine: Engine, io_image: str, image: str) -> Object:
    spec = deployment.spec
    store: Object = {"name": _STORE_VOLUME, "mountPath": str(MODEL_STORE)}
    claims = build_claim_mounts(access.claims)
    # Where `stage` leaves the weights in the cache, the model store holds only a link to them.
    shared: list[Object] = [{**_SHARED_MOUNT, "readOnly": True}] if spec.cache is not None else []
    stage = {
        **build_container(deployment, access, STAGE, io_image),
        "volumeMounts": [
            build_config_mount(),
            build_tmp_mount(),
            store,
            *([_SHARED_MOUNT] if spec.cache is not None else []),
            *claims,
        ],
    }
    has_sidecar = needs_sidecar(deployment)
    sidecars = [build_sidecar(deployment, access, io_image, [store, *shared])] if has_sidecar else []
    gpus = {spec.gpu_resource: str(spec.runtime.tensor_parallel_size)} if access.device == "gpu" else {}
    drain_seconds = spec.drain_seconds or _DRAIN_SECONDS
    server: Object = {
        "name": SERVER,
        "image": image,
        "imagePullPolicy": spec.image_pull_policy,
        **({"args": engine.arguments} if engine.arguments else {}),
        "env": build_server_environment(spec, access, engine),
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        # Half an hour: large weights load for many minutes, and a server that is not up yet must not be killed.
        "startupProbe": build_server_probe(engine.ready, period=10, failures=180),
        "readinessProbe": build_server_probe(engine.ready, period=5, failures=3),
        "livenessProbe": build_server_probe(engine.live, period=10, failures=6),
        # Requests still come until every node has taken notice that the pod goes, and engines that are told to stop
        # cut those that they have. To sleep is what every image can do, whatever engine is in it.
        "lifecycle": {"preStop": {"sleep": {"seconds": drain_seconds}}},
        "resources": build_resources(spec.resources or Resources(), gpus),
        "securityContext": {
            **build_container_security(),
            "runAsUser": engine.user,
            "runAsGroup": engine.group,
        },
        # What a server has said last is why it ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {**store, "mountPath": engine.store, "readOnly": True},
            *_build_cache_mounts(spec, engine),
            *shared,
            build_tmp_mount(),
            build_shared_memory_mount(),
            *([_template_mount()] if spec.runtime.chat_template is not None else []),
            *claims,
        ],
    }
    pod = build_pod_spec(
        spec,
        access.storage,
        init_containers=[stage, *sidecars],
        containers=[server],
        volumes=[
            build_file_volume(*([build_wish_item()] if has_sidecar else [])),
            build_tmp_volume(),
            build_shared_memory_volume(spec.shared_memory),
            {"name": _STORE_VOLUME, "emptyDir": {}},
            {"name": _CACHE_VOLUME, "emptyDir": {}},
            *([_build_shared_volume(spec.cache)] if spec.cache is not None else []),
            *([_template_volume()] if spec.runtime.chat_template is not None else []),
            *build_claim_volumes(access.claims),
        ],
        grace_seconds=drain_seconds + _GRACE_SECONDS,
    )
    if not spec.topology_spread:
        return pod
    # Counted for each revision by itself, so that a roll-out ends up as even as it began.
    rule: Object = {
        "labelSelector": {"matchLabels": build_selector(deployment)},
        "matchLabelKeys": ["pod-template-hash"],
    }
    spread = [entry.model_dump(by_alias=True) | rule for entry in spec.topology_spread]
    return {**pod, "topologySpreadConstraints": spread}


def build_server_environment(spec: ModelDeploymentSpec, access: Access, engine: Engine) -> list[Object]:
    """Environment of the server; secrets by reference, and the user's variables win."""
    chosen = {entry.name for entry in spec.runtime.env or ()}
    store = build_store_environment(access.storage) if spec.weights == "Direct" else []
    return [
        *({"name": name, "value": value} for name, value in sorted(engine.variables.items())),
        *_build_licence(spec.runtime),
        *build_key(spec.runtime),
        *(entry for entry in store if entry["name"] not in chosen),
        *(entry.model_dump(by_alias=True, exclude_none=True) for entry in spec.runtime.env or []),
    ]


def _build_licence(runtime: Runtime) -> list[Object]:
    secret = runtime.ngc_secret_ref
    if secret is None or any(entry.name == _LICENCE for entry in runtime.env or ()):
        return []
    return [{"name": _LICENCE, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}]


def _annotate_template(runtime: Runtime) -> dict[str, str]:
    return {} if runtime.chat_template is None else {_TEMPLATE_ANNOTATION: runtime.chat_template}


def _build_shared_volume(cache: WeightCache) -> Object:
    return {"name": _SHARED_VOLUME, "persistentVolumeClaim": {"claimName": cache.claim_name}}


def _build_cache_mounts(spec: ModelDeploymentSpec, engine: Engine) -> list[Object]:
    """Where a server writes: to its node's disk, and what every server would download to the volume that they share."""
    mounts: list[Object] = [{"name": _CACHE_VOLUME, "mountPath": CACHE}]
    if engine.kernels is not None:
        mounts.append({"name": _CACHE_VOLUME, "mountPath": engine.kernels, "subPath": "kernels"})
    if spec.cache is not None and engine.downloads is not None:
        mounts.append({"name": _SHARED_VOLUME, "mountPath": engine.downloads, "subPath": "nim"})
    return mounts


def _template_volume() -> Object:
    field = {"fieldPath": f"metadata.annotations['{_TEMPLATE_ANNOTATION}']"}
    return {"name": _TEMPLATE_VOLUME, "downwardAPI": {"items": [{"path": CHAT_TEMPLATE.name, "fieldRef": field}]}}


def _template_mount() -> Object:
    return {"name": _TEMPLATE_VOLUME, "mountPath": str(CHAT_TEMPLATE.parent), "readOnly": True}


def build_server_probe(path: str, *, period: int, failures: int) -> Object:
    """A probe of the server by the kubelet."""
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _digest(value: Object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_pods(template: Object) -> str:
    """Leaves out the images of our own containers: another release of ours brings the same weights."""
    ours = [{**container, "image": None} for container in template["spec"]["initContainers"]]
    return _digest({**template, "spec": {**template["spec"], "initContainers": ours}})
