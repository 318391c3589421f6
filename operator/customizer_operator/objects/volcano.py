"""What Volcano is told of an attempt: its PodGroup, and the annotation that makes the pods members."""

from customizer_operator.api.base import ATTEMPT_LABEL, Object
from customizer_operator.api.scheduling import Scheduling
from customizer_operator.objects.names import REPLICA_INDEX_LABEL
from customizer_operator.plan.placement import Demand, Slice

SCHEDULER = "volcano"
_DEFAULT_QUEUE = "default"


def build_pod_annotations(group: str) -> dict[str, str]:
    """Annotations of the pods."""
    return {"scheduling.k8s.io/group-name": group}


def build_pod_group(owner: Object, scheduling: Scheduling, demand: Demand, pods: int) -> Object:
    """Builds the PodGroup of a PyTorchJob, with which it goes.

    A pod is in one subgroup: of slices within slices the innermost ones, whose pods talk most, are required, and the
    attempt as a whole rather stays together.
    """
    metadata = owner["metadata"]
    priority = scheduling.priority_class
    inner = demand.slices[-1:]
    if demand.whole is not None and demand.whole_is_required:
        whole = {"networkTopology": _require(demand.whole)}
    elif prefers_whole(demand):
        whole = {"networkTopology": {"mode": "soft"}}
    else:
        whole = {}
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
            **whole,
            **({"subGroupPolicy": _build_subgroups(inner[0], pods)} if inner else {}),
        },
    }


def prefers_whole(demand: Demand) -> bool:
    """Tells whether the attempt as a whole rather stays together: of slices within slices only the inner are told."""
    return not demand.whole_is_required and (demand.whole is not None or len(demand.slices) > 1)


def _require(label: str) -> Object:
    """Requires one domain. Volcano names the tiers that it discovers by the nodes' labels."""
    return {"mode": "hard", "highestTierName": label}


def _build_subgroups(required: Slice, pods: int) -> list[Object]:
    """Builds a policy for each run of pods, which are told apart by their ranks.

    Volcano makes subgroups only by labels in `matchLabelKeys`, one for each value; a policy without any matches
    nothing. The attempt's label has one value, so that each policy makes one subgroup of all the pods that it selects.
    """
    size = required.size
    return [
        {
            "name": f"{first}-{first + size - 1}",
            "labelSelector": {
                "matchExpressions": [
                    {
                        "key": REPLICA_INDEX_LABEL,
                        "operator": "In",
                        "values": [str(rank) for rank in range(first, first + size)],
                    }
                ]
            },
            "matchLabelKeys": [ATTEMPT_LABEL],
            "subGroupSize": size,
            "networkTopology": _require(required.label),
        }
        for first in range(0, pods, size)
    ]
