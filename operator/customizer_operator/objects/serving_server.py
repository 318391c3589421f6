"""The pods of servers: weights are staged, then an engine serves them, with a sidecar beside it where it takes one."""

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
from customizer_operator.objects.serving_companions import PORT_NAME, build_selector
from customizer_operator.objects.serving_engine import CACHE, Engine
from customizer_operator.objects.serving_pods import (
    SERVER,
    STAGE,
    Access,
    annotate,
    build_container,
    build_file_volume,
    build_pod_labels,
)
from customizer_operator.objects.serving_sidecar import build_key, build_sidecar, build_wish_item, needs_sidecar

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


def build_pod_template(
    deployment: ModelDeployment, serving: Serving, access: Access, engine: Engine, *, io_image: str, image: str
) -> Object:
    """Builds the template of the servers' pods."""
    return {
        "metadata": {
            "labels": build_pod_labels(deployment, SERVER),
            "annotations": annotate(serving) | _annotate_template(deployment.spec.runtime),
        },
        "spec": _build_pod(deployment, access, engine, io_image, image),
    }


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


def build_server_probe(path: str, *, period: int, failures: int) -> Object:
    """A probe of the server by the kubelet."""
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _build_pod(deployment: ModelDeployment, access: Access, engine: Engine, io_image: str, image: str) -> Object:
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
