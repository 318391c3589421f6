"""What a scheduler is told of an attempt: Kueue's labels and annotations, or affinity between its pods."""

import json
from collections.abc import Sequence

from customizer_operator.api.base import ATTEMPT_LABEL, JOB_LABEL, Object
from customizer_operator.api.scheduling import Scheduling
from customizer_operator.plan.placement import Demand, Group, Mesh, Parallelism, Slice, find_demand, find_groups

_KUEUE = "kueue.x-k8s.io"
_HOST = "kubernetes.io/hostname"
_WEIGHT = 100


def build_queue_labels(scheduling: Scheduling) -> dict[str, str]:
    """Labels of the workload that a queue admits."""
    if scheduling.queue is None:
        return {}
    priority = {} if scheduling.priority_class is None else {f"{_KUEUE}/priority-class": scheduling.priority_class}
    return {f"{_KUEUE}/queue-name": scheduling.queue, **priority}


def build_topology_annotations(scheduling: Scheduling, mesh: Mesh) -> dict[str, str]:
    """Annotations of the pods that tell Kueue which of them must be near each other.

    None where no label is named: Kueue refuses what asks for a topology from a flavor that has none.
    """
    if scheduling.queue is None or scheduling.topology is None or not scheduling.topology.names_labels:
        return {}
    demand = find_demand(find_groups(mesh, scheduling.topology), mesh.pods)
    annotations = {**_annotate_whole(demand), **_annotate_slices(demand.slices)}
    return annotations or {f"{_KUEUE}/podset-unconstrained-topology": "true"}


def _annotate_whole(demand: Demand) -> dict[str, str]:
    if demand.whole is None:
        return {}
    how = "required" if demand.whole_is_required else "preferred"
    return {f"{_KUEUE}/podset-{how}-topology": demand.whole}


def _annotate_slices(slices: tuple[Slice, ...]) -> dict[str, str]:
    if len(slices) > 1:
        levels = [{"topology": item.label, "size": item.size} for item in slices]
        return {f"{_KUEUE}/podset-slice-required-topology-constraints": json.dumps(levels)}
    return {
        name: value
        for item in slices
        for name, value in (
            (f"{_KUEUE}/podset-slice-required-topology", item.label),
            (f"{_KUEUE}/podset-slice-size", str(item.size)),
        )
    }


def build_affinity(scheduling: Scheduling, mesh: Mesh, job: str, attempt: int) -> Object:
    """Affinity between the pods of an attempt; empty for a single one.

    Each pod prefers a node of its own. Without a queue the pods also attract each other. All have the same template, so
    the attempt can only stay together as a whole: tensor-parallel groups over nodes demand it, other groups prefer it.
    """
    if mesh.pods == 1:
        return {}
    pods = {"matchLabels": {JOB_LABEL: job, ATTEMPT_LABEL: str(attempt)}}
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [_prefer(_HOST, pods)]}
    near = [] if scheduling.queue is not None else find_groups(mesh, scheduling.topology)
    labels = {group.label: group for group in near if group.spans_nodes and group.label is not None}
    together = {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": label, "labelSelector": pods} for label, group in labels.items() if _is_strict(group, near)
        ],
        "preferredDuringSchedulingIgnoredDuringExecution": [
            _prefer(label, pods) for label, group in labels.items() if not _is_strict(group, near)
        ],
    }
    attraction = {how: terms for how, terms in together.items() if terms}
    return {"affinity": {**({"podAffinity": attraction} if attraction else {}), "podAntiAffinity": apart}}


def _is_strict(group: Group, groups: Sequence[Group]) -> bool:
    """Tells whether the domain of a group is that of a tensor-parallel group over nodes."""
    return any(
        other.parallelism is Parallelism.TENSOR and other.spans_nodes and other.label == group.label for other in groups
    )


def _prefer(label: str, pods: Object) -> Object:
    return {"weight": _WEIGHT, "podAffinityTerm": {"topologyKey": label, "labelSelector": pods}}
