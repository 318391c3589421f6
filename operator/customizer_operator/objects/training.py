"""The PyTorchJob of one attempt: workers only, static rendezvous, one pod a node share."""

from customizer_contract.outline import Outline
from customizer_contract.progress import PROGRESS_PORT
from customizer_operator.api.base import Object
from customizer_operator.api.common import Resources
from customizer_operator.api.customization_job import Compute, CustomizationJob
from customizer_operator.api.integrations import Integrations
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import find_claims, find_token
from customizer_operator.objects.names import (
    REPLICA_INDEX_LABEL,
    TRAINING,
    attempt_name,
    build_job_labels,
    build_owner,
    config_map_name,
    worker_name,
)
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
    build_secret_variable,
    build_shared_memory_mount,
    build_shared_memory_volume,
    build_tmp_mount,
    build_tmp_volume,
    build_workspace_mount,
)
from customizer_operator.objects.scheduling import (
    build_affinity,
    build_job_annotations,
    build_pod_annotations,
    build_queue_labels,
    build_scheduler,
)
from customizer_operator.plan.placement import find_mesh

CONTAINER = "pytorch"
"""training-operator looks for a container of this name."""
FETCH_CONTAINER = "fetch"
RENDEZVOUS_PORT = 23456

GRACE_SECONDS = 120
"""Between SIGTERM and SIGKILL: the trainer ends its step, saves a checkpoint and uploads it."""

_SHARED_MEMORY_A_GPU_GIB = 1


def build_training(job: CustomizationJob, images: Images, attempt: int) -> Object:
    """Builds the PyTorchJob of an attempt.

    training-operator sets PET_NNODES and PET_NPROC_PER_NODE; the rank is the replica's index, and worker 0 is found
    by the name of its Service.
    """
    name, outline, scheduling = job.metadata.name, _outline(job), job.spec.scheduling
    labels = build_job_labels(name, TRAINING, attempt)
    mesh = find_mesh(outline)
    annotations = build_pod_annotations(scheduling, mesh, attempt_name(name, attempt))
    whole = build_job_annotations(scheduling, mesh)
    # Kueue starts what it admits. Where it does not run, nothing starts past its queue.
    suspended = {"suspend": True} if scheduling.local_queue is not None else {}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {
            "name": attempt_name(name, attempt),
            "namespace": job.metadata.namespace,
            "labels": {**labels, **build_queue_labels(scheduling)},
            **({"annotations": whole} if whole else {}),
            "ownerReferences": [build_owner("CustomizationJob", job.metadata)],
        },
        "spec": {
            "nprocPerNode": str(outline.processes),
            "runPolicy": {"backoffLimit": 0, "cleanPodPolicy": "Running", **suspended},
            "pytorchReplicaSpecs": {
                "Worker": {
                    "replicas": outline.nodes,
                    "restartPolicy": "Never",
                    "template": {
                        "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
                        "spec": _build_pod(job, images, attempt),
                    },
                }
            },
        },
    }


def _build_pod(job: CustomizationJob, images: Images, attempt: int) -> Object:
    spec, name = job.spec, job.metadata.name
    compute = spec.compute
    claims = find_claims(spec)
    environment = build_environment(spec.object_storage, find_token(spec))
    mounts = [build_config_mount(), build_tmp_mount(), build_workspace_mount(), *build_claim_mounts(claims)]
    common = {
        "imagePullPolicy": compute.image_pull_policy,
        "securityContext": build_container_security(),
        "terminationMessagePolicy": "File",
    }
    fetch = {
        **common,
        "name": FETCH_CONTAINER,
        "image": images.io,
        "command": [*COMMAND, "fetch"],
        "env": environment,
        "resources": build_resources(compute.resources),
        "volumeMounts": mounts,
    }
    train = {
        **common,
        "name": CONTAINER,
        "image": compute.image or (images.unsloth if spec.unsloth is not None else images.automodel),
        "command": [*COMMAND, "train", "--attempt", str(attempt)],
        "env": [*environment, *_build_api_key(spec.integrations), *_build_rendezvous(name, attempt)],
        "ports": [
            {"name": "pytorchjob-port", "containerPort": RENDEZVOUS_PORT},
            {"name": "metrics", "containerPort": PROGRESS_PORT},
        ],
        "resources": _build_resources(job),
        "volumeMounts": [*mounts, build_shared_memory_mount()],
    }
    pod = build_pod_spec(
        compute,
        spec.object_storage,
        containers=[train],
        init_containers=[fetch],
        volumes=[
            build_config_volume(config_map_name(name)),
            build_tmp_volume(),
            _build_workspace(compute),
            build_shared_memory_volume(compute.shared_memory or _default_shared_memory(job)),
            *build_claim_volumes(claims),
        ],
        grace_seconds=GRACE_SECONDS,
    )
    affinity = build_affinity(spec.scheduling, find_mesh(_outline(job)), name, attempt)
    return {**pod, **build_scheduler(spec.scheduling), **affinity}


def _build_api_key(integrations: Integrations | None) -> list[Object]:
    if integrations is None or integrations.wandb is None or integrations.wandb.api_key_secret_ref is None:
        return []
    reference = integrations.wandb.api_key_secret_ref
    return [build_secret_variable("WANDB_API_KEY", reference.name, reference.key)]


def _build_rendezvous(name: str, attempt: int) -> list[Object]:
    return [
        {"name": "PET_MASTER_ADDR", "value": worker_name(name, attempt, 0)},
        {"name": "PET_MASTER_PORT", "value": str(RENDEZVOUS_PORT)},
        {
            "name": "PET_NODE_RANK",
            "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{REPLICA_INDEX_LABEL}']"}},
        },
    ]


def _build_resources(job: CustomizationJob) -> Object:
    compute = job.spec.compute
    gpus = {compute.gpu_resource: str(_outline(job).processes)} if compute.device == "gpu" else {}
    resources: Resources = compute.resources
    return build_resources(resources, gpus)


def _build_workspace(compute: Compute) -> Object:
    """A volume made for the pod and deleted with it, or the node's own disk."""
    if compute.workspace is None:
        return {"name": WORKSPACE_VOLUME, "emptyDir": {}}
    claim: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": compute.workspace.size}},
    }
    if compute.workspace.storage_class_name is not None:
        claim["storageClassName"] = compute.workspace.storage_class_name
    return {"name": WORKSPACE_VOLUME, "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _outline(job: CustomizationJob) -> Outline:
    outline = job.spec.outline
    if outline is None:
        raise ValueError("name the backend: add automodel: {} or unsloth: {}")
    return outline


def _default_shared_memory(job: CustomizationJob) -> str:
    return f"{_SHARED_MEMORY_A_GPU_GIB * _outline(job).processes}Gi"
