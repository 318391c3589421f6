"""The sidecar of a server, and the wish that it reads: an annotation that is changed while the pod runs.

It is not one of the pod template's annotations: those restart the servers. The kubelet brings a changed annotation to
the volume within seconds, since it looks at a pod at once when the pod changes; a ConfigMap would take up to a minute.
"""

import json
from collections.abc import Sequence

from customizer_contract.adapters import SIDECAR_PORT
from customizer_contract.paths import WISH_FILE
from customizer_contract.serving import API_KEY, LoraServer, SidecarInput
from customizer_operator.api.base import GROUP, Object
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_runtime import PORT, Runtime
from customizer_operator.objects.pods import (
    build_claim_mounts,
    build_config_mount,
    build_secret_variable,
    build_tmp_mount,
)
from customizer_operator.objects.serving_engine import Weights, find_generation, find_rank
from customizer_operator.objects.serving_pods import FILE_ANNOTATION, SERVER, Access, build_container

SIDECAR = "sidecar"
"""Container that keeps a server's adapters as they are wished."""
WISH_ANNOTATION = f"{GROUP}/adapters"
"""The wish, on pods that have a sidecar."""

_NIM_MODULES = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
"""What NIM 1.x adapts."""


def needs_sidecar(deployment: ModelDeployment) -> bool:
    """Tells whether there is something to do beside a server while it runs."""
    runtime = deployment.spec.runtime
    is_asked = deployment.spec.probe is not None or deployment.spec.evaluation is not None
    # Nobody but the sidecar can ask a server that wants a key: the operator reads no Secrets.
    return runtime.lora is not None or runtime.api_key_secret_ref is not None or is_asked


def build_key(runtime: Runtime) -> list[Object]:
    """The key that a server asks for, for the containers that must know it."""
    secret = runtime.api_key_secret_ref
    return [] if secret is None else [build_secret_variable(API_KEY, secret.name, secret.key)]


def build_sidecar_input(deployment: ModelDeployment, image: str, weights: Weights) -> SidecarInput | None:
    """Describes the server to its sidecar; None if it needs none."""
    if not needs_sidecar(deployment):
        return None
    return SidecarInput(
        port=PORT,
        staged=weights.name if weights.base_name is not None else None,
        lora=_build_lora(deployment.spec.runtime, image, weights),
        evaluates=True if deployment.spec.evaluation is not None else None,
    )


def _build_lora(runtime: Runtime, image: str, weights: Weights) -> LoraServer | None:
    if runtime.lora is None:
        return None
    is_vllm = runtime.type == "VLLM"
    return LoraServer(
        loading="Call" if is_vllm else "Folder",
        max_rank=find_rank(runtime, weights) or runtime.lora.max_rank,
        target_modules=None if is_vllm or find_generation(runtime, image) != "V1" else _NIM_MODULES,
        base_in_image=weights.base_in_image,
    )


def build_wish_item() -> Object:
    """The wish as a file of the volume that also holds the serving file; empty while the annotation is missing."""
    return {
        "path": WISH_FILE.name,
        "fieldRef": {"fieldPath": f"metadata.annotations['{WISH_ANNOTATION}']"},
    }


def build_sidecar(deployment: ModelDeployment, access: Access, image: str, weights: Sequence[Object]) -> Object:
    """Builds the container: it starts before the server, ends after it, and a pod is ready only if it is.

    `weights` are the mounts where `stage` has put them; it writes to the model store.
    """
    container = build_container(deployment, access, SIDECAR, image)
    return {
        **container,
        "env": [*container["env"], *build_key(deployment.spec.runtime)],
        "restartPolicy": "Always",
        "ports": [{"name": "sidecar", "containerPort": SIDECAR_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "sidecar"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "volumeMounts": [
            build_config_mount(),
            build_tmp_mount(),
            *weights,
            *build_claim_mounts(access.claims),
        ],
    }


def has_sidecar(pod: Object) -> bool:
    """Tells whether a pod has one."""
    containers: list[Object] = pod.get("spec", {}).get("initContainers") or []
    return any(container["name"] == SIDECAR for container in containers)


def can_evaluate(pod: Object) -> bool:
    """Tells whether the sidecar of a pod, or of a pod template, puts held-out questions."""
    file = json.loads((pod["metadata"].get("annotations") or {}).get(FILE_ANNOTATION, "{}"))
    return bool((file.get("sidecar") or {}).get("evaluates"))


def asks_for_key(pod: Object) -> bool:
    """Tells whether the server of a pod answers only to those who show a key."""
    containers: list[Object] = pod.get("spec", {}).get("containers") or []
    return any(
        entry["name"] == API_KEY
        for container in containers
        if container["name"] == SERVER
        for entry in container.get("env") or ()
    )
