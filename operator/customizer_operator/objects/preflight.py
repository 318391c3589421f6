"""The Job that checks model and data before a GPU is held."""

from customizer_contract.errors import ExitCode
from customizer_operator.api.base import Object
from customizer_operator.api.common import Resources
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import find_claims, find_token
from customizer_operator.objects.names import PREFLIGHT, build_job_labels, build_owner, config_map_name, preflight_name
from customizer_operator.objects.pods import (
    COMMAND,
    WORKSPACE_VOLUME,
    build_claim_mounts,
    build_claim_volumes,
    build_config_mount,
    build_config_volume,
    build_container_security,
    build_environment,
    build_pod_spec,
    build_resources,
    build_tmp_mount,
    build_tmp_volume,
    build_workspace_mount,
)

CONTAINER = "preflight"
BACKOFF_LIMIT = 4
"""Tries of a preflight whose store does not answer; the Job waits longer each time."""

_FINAL_CODES = (ExitCode.BAD_JOB, ExitCode.BAD_INPUT)
_RESOURCES = Resources(requests={"cpu": "250m", "memory": "512Mi"})


def build_preflight(job: CustomizationJob, images: Images) -> Object:
    """Builds the Job. It fails at once when the catalogue knows that another try ends the same way."""
    spec, name = job.spec, job.metadata.name
    labels = build_job_labels(name, PREFLIGHT)
    claims = find_claims(spec)
    container = {
        "name": CONTAINER,
        "image": images.io,
        "imagePullPolicy": spec.compute.image_pull_policy,
        "command": [*COMMAND, "preflight"],
        "env": build_environment(spec.object_storage, find_token(spec)),
        "resources": build_resources(_RESOURCES),
        "securityContext": build_container_security(),
        "terminationMessagePolicy": "File",
        "volumeMounts": [build_config_mount(), build_tmp_mount(), build_workspace_mount(), *build_claim_mounts(claims)],
    }
    pod_spec = build_pod_spec(
        # Preflight needs no GPU: it runs wherever the tolerations let it, not only on the GPU nodes.
        spec.compute.model_copy(update={"node_selector": None}),
        spec.object_storage,
        containers=[container],
        volumes=[
            build_config_volume(config_map_name(name)),
            build_tmp_volume(),
            {"name": WORKSPACE_VOLUME, "emptyDir": {}},
            *build_claim_volumes(claims),
        ],
        grace_seconds=10,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": preflight_name(name),
            "namespace": job.metadata.namespace,
            "labels": labels,
            "ownerReferences": [build_owner("CustomizationJob", job.metadata)],
        },
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": [int(code) for code in _FINAL_CODES],
                        },
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": {**pod_spec, "restartPolicy": "Never"},
            },
        },
    }
