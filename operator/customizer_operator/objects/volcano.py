"""What Volcano is told of an attempt: its PodGroup, and the annotation that makes the pods members."""

from customizer_operator.api.base import Object
from customizer_operator.api.scheduling import Scheduling
from customizer_operator.plan.placement import Demand

SCHEDULER = "volcano"
_DEFAULT_QUEUE = "default"


def build_pod_annotations(group: str) -> dict[str, str]:
    """Annotations of the pods."""
    return {"scheduling.k8s.io/group-name": group}


def build_pod_group(owner: Object, scheduling: Scheduling, demand: Demand, pods: int) -> Object:
    """Builds the PodGroup of a PyTorchJob, with which it goes.

    Subgroups go by labels, and all pods of a PyTorchJob have the same: what slices require is required of the whole.
    """
    metadata = owner["metadata"]
    priority = scheduling.priority_class
    label = demand.slices[-1].label if demand.slices else demand.whole
    strict = bool(demand.slices) or demand.whole_is_required
    # Volcano names the tiers that it discovers by the nodes' labels.
    topology = {"mode": "hard", "highestTierName": label} if strict else {"mode": "soft"}
    return {
        "apiVersion": "scheduling.volcano.sh/v1beta1",
        "kind": "PodGroup",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "minMember": pods,
            "queue": scheduling.queue or _DEFAULT_QUEUE,
            **({"priorityClassName": priority} if priority is not None else {}),
            **({"networkTopology": topology} if label is not None else {}),
        },
    }
