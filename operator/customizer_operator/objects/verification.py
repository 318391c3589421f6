"""The Job that checks what is to be served before a GPU is held."""

from customizer_contract.errors import ExitCode
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.objects.pods import (
    build_claim_mounts,
    build_claim_volumes,
    build_config_mount,
    build_pod_spec,
    build_tmp_mount,
    build_tmp_volume,
)
from customizer_operator.objects.serving_pods import (
    VERIFY,
    Access,
    annotate,
    build_container,
    build_file_volume,
    build_metadata,
    build_pod_labels,
)

_RETRIES = 3
_KEPT_SECONDS = 120
"""How long an ended Job stays; what was refused is looked at again after that."""


def verify_name(name: str) -> str:
    """Name of the Job that verifies."""
    return f"{name}-verify"


def build_verification(deployment: ModelDeployment, serving: Serving, access: Access, image: str) -> Object:
    """Builds the Job that verifies. It fails at once when another try ends the same way."""
    container = {
        **build_container(deployment, access, VERIFY, image),
        "volumeMounts": [build_config_mount(), build_tmp_mount(), *build_claim_mounts(access.claims)],
    }
    pod = build_pod_spec(
        # It needs no GPU: it runs wherever the tolerations let it, not only on the GPU nodes.
        deployment.spec.model_copy(update={"node_selector": None}),
        access.storage,
        containers=[container],
        volumes=[build_file_volume(), build_tmp_volume(), *build_claim_volumes(access.claims)],
        grace_seconds=10,
    )
    rule: Object = {
        "containerName": VERIFY,
        "operator": "In",
        "values": [int(ExitCode.BAD_JOB), int(ExitCode.BAD_INPUT)],
    }
    spec: Object = {
        "backoffLimit": _RETRIES,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": rule},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": build_pod_labels(deployment, VERIFY), "annotations": annotate(serving)},
            "spec": {**pod, "restartPolicy": "Never"},
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": build_metadata(deployment, verify_name(deployment.metadata.name), VERIFY),
        "spec": spec,
    }
