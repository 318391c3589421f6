"""Names, labels and owners of the objects that the operator makes."""

from customizer_operator.api.base import API_VERSION, ATTEMPT_LABEL, JOB_LABEL, Metadata, Object

COMPONENT_LABEL = "app.kubernetes.io/component"
"""What an object of ours, or a pod of it, is for."""
REPLICA_INDEX_LABEL = "training.kubeflow.org/replica-index"
"""The rank of an attempt's pod, as training-operator labels it."""
MANAGER_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "customizer-operator"
PREFLIGHT, TRAINING = "preflight", "training"
"""Components of a CustomizationJob that have pods."""
_PART_OF = "customizer"


def config_map_name(job: str) -> str:
    """Name of the ConfigMap with the job file."""
    return job


def preflight_name(job: str) -> str:
    """Name of the preflight Job."""
    return f"{job}-preflight"


def attempt_name(job: str, number: int) -> str:
    """Name of an attempt's PyTorchJob."""
    return f"{job}-a{number}"


def worker_name(job: str, number: int, rank: int) -> str:
    """Name that training-operator gives to an attempt's pod, and to its Service."""
    return f"{attempt_name(job, number)}-worker-{rank}"


def build_labels(owner_label: str, owner: str, component: str) -> dict[str, str]:
    """Labels of an object of ours and of its pods."""
    return {
        "app.kubernetes.io/name": _PART_OF,
        "app.kubernetes.io/instance": owner,
        COMPONENT_LABEL: component,
        MANAGER_LABEL: MANAGER,
        owner_label: owner,
    }


def build_job_labels(job: str, component: str, attempt: int | None = None) -> dict[str, str]:
    """Labels of an object of a CustomizationJob."""
    labels = build_labels(JOB_LABEL, job, component)
    return labels if attempt is None else {**labels, ATTEMPT_LABEL: str(attempt)}


def build_owner(kind: str, metadata: Metadata) -> Object:
    """Makes the garbage collector delete an object with its owner; no finalizer is needed for that."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(item: Object, uid: str) -> bool:
    """Tells whether the object was made for the one of that uid."""
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))
