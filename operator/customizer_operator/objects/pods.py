"""What all of our pods have in common: restricted security, writable disks, credentials, placement."""

from collections.abc import Mapping, Sequence

from customizer_contract.paths import JOB_FILE, VOLUMES, WORKSPACE
from customizer_operator.api.base import Object
from customizer_operator.api.common import ClaimLocation, ObjectStorage, Placement, Resources, SecretKeyReference

USER_ID = 10001
"""User and group of every process in our pods."""

CONFIG_VOLUME = "config"
TMP_VOLUME = "tmp"
WORKSPACE_VOLUME = "workspace"
SHARED_MEMORY_VOLUME = "shared-memory"

COMMAND = ("python", "-m", "customizer_trainer")


def build_pod_security() -> Object:
    """Security of a pod, as the restricted profile demands."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def build_container_security() -> Object:
    """Security of a container, as the restricted profile demands, and a root filesystem that cannot be written."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def build_environment(storage: ObjectStorage, token: SecretKeyReference | None) -> list[Object]:
    """Environment of every container of ours: a home that can be written, and secrets by reference."""
    environment: list[Object] = [
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own emptyDir
        {"name": "TMPDIR", "value": "/tmp"},  # noqa: S108
        {"name": "USER", "value": "customizer"},
    ]
    environment += _build_credentials(storage)
    if token is not None:
        environment.append(build_secret_variable("HF_TOKEN", token.name, token.key))
    return environment


def build_store_environment(storage: ObjectStorage) -> list[Object]:
    """What a server that reads S3 by itself must know of it."""
    endpoint = storage.endpoint_url
    return [
        {"name": "AWS_REGION", "value": storage.region},
        *([] if endpoint is None else [{"name": "AWS_ENDPOINT_URL", "value": endpoint}]),
        *_build_credentials(storage),
    ]


def _build_credentials(storage: ObjectStorage) -> list[Object]:
    secret = storage.credentials_secret_ref
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return [] if secret is None else [build_secret_variable(name, secret.name, name) for name in names]


def build_secret_variable(variable: str, secret: str, key: str) -> Object:
    """Variable whose value the kubelet takes from a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def build_config_volume(config_map: str) -> Object:
    """Volume with the job file or the serving file."""
    return {"name": CONFIG_VOLUME, "configMap": {"name": config_map}}


def build_config_mount() -> Object:
    """Mount of the job file or the serving file."""
    return {"name": CONFIG_VOLUME, "mountPath": str(JOB_FILE.parent), "readOnly": True}


def build_tmp_volume() -> Object:
    """Volume for temporary files."""
    return {"name": TMP_VOLUME, "emptyDir": {}}


def build_tmp_mount() -> Object:
    """Mount of the temporary files."""
    return {"name": TMP_VOLUME, "mountPath": "/tmp"}  # noqa: S108


def build_workspace_mount() -> Object:
    """Mount of the workspace."""
    return {"name": WORKSPACE_VOLUME, "mountPath": str(WORKSPACE)}


def build_shared_memory_volume(size: str | None) -> Object:
    """Memory that the processes of a pod share; it counts as the pod's memory."""
    limit = {} if size is None else {"sizeLimit": size}
    return {"name": SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory", **limit}}


def build_shared_memory_mount() -> Object:
    """Mount of the shared memory."""
    return {"name": SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"}  # noqa: S108


def build_claim_volumes(claims: Mapping[str, ClaimLocation]) -> list[Object]:
    """Volumes of the claims that sources name, by the use that is made of them (`model`, `training`, ...)."""
    return [
        {"name": use, "persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": True}}
        for use, claim in claims.items()
    ]


def build_claim_mounts(claims: Mapping[str, ClaimLocation]) -> list[Object]:
    """Mounts of the claims that sources name."""
    return [{"name": use, "mountPath": str(VOLUMES / use), "readOnly": True} for use in claims]


def build_resources(resources: Resources, extra_limits: Mapping[str, str] | None = None) -> Object:
    """What a container asks of its node; `extra_limits` are devices."""
    limits = {**(resources.limits or {}), **(extra_limits or {})}
    return {
        **({"requests": dict(resources.requests)} if resources.requests else {}),
        **({"limits": limits} if limits else {}),
    }


def build_pod_spec(
    placement: Placement,
    storage: ObjectStorage,
    *,
    containers: Sequence[Object],
    init_containers: Sequence[Object] = (),
    volumes: Sequence[Object],
    grace_seconds: int,
) -> Object:
    """Spec of a pod that cannot call the API; a workload identity brings its own token for the store."""
    account = storage.service_account_name
    tolerations = [t.model_dump(by_alias=True, exclude_none=True) for t in placement.tolerations or ()]
    pull_secrets = [{"name": secret.name} for secret in placement.image_pull_secrets or ()]
    return {
        **({"serviceAccountName": account} if account is not None else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": build_pod_security(),
        "terminationGracePeriodSeconds": grace_seconds,
        **({"initContainers": list(init_containers)} if init_containers else {}),
        "containers": list(containers),
        "volumes": list(volumes),
        **({"nodeSelector": dict(placement.node_selector)} if placement.node_selector else {}),
        **({"tolerations": tolerations} if tolerations else {}),
        **({"priorityClassName": placement.priority_class_name} if placement.priority_class_name else {}),
        **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
    }
