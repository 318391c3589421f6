"""What the chosen scheduler is told of an attempt; where it knows no groups, affinity between the pods."""

from collections.abc import Sequence

from customizer_operator.api.base import ATTEMPT_LABEL, JOB_LABEL, Object
from customizer_operator.api.scheduling import Scheduling
from customizer_operator.objects import kai, kueue, volcano
from customizer_operator.plan.placement import Demand, Group, Mesh, Parallelism, find_demand, find_groups

_HOST = "kubernetes.io/hostname"
_WEIGHT = 100


def build_queue_labels(scheduling: Scheduling) -> dict[str, str]:
    """Labels of the workload that a queue admits."""
    queue, priority = scheduling.queue, scheduling.priority_class
    if queue is None or scheduling.scheduler == "Volcano":
        return {}
    build = kai.build_labels if scheduling.scheduler == "KAI" else kueue.build_labels
    return build(queue, priority)


def build_job_annotations(scheduling: Scheduling, mesh: Mesh) -> dict[str, str]:
    """Annotations of the workload."""
    if scheduling.scheduler != "KAI" or scheduling.topology is None or scheduling.topology.name is None:
        return {}
    return kai.build_job_annotations(_find_demand(scheduling, mesh), scheduling.topology.name)


def build_pod_annotations(scheduling: Scheduling, mesh: Mesh, attempt: str) -> dict[str, str]:
    """Annotations of the pods that tell which of them belong or must be together.

    Kueue is told nothing where no label is named: it refuses what asks for a topology from a flavor that has none.
    """
    match scheduling.scheduler:
        case "Volcano":
            return volcano.build_pod_annotations(attempt)
        case "KAI":
            return kai.build_pod_annotations(_find_demand(scheduling, mesh))
        case "Default":
            topology = scheduling.topology
            named = scheduling.queue is not None and topology is not None and topology.names_labels
            return kueue.build_annotations(_find_demand(scheduling, mesh)) if named else {}


def build_pod_group(owner: Object, scheduling: Scheduling, mesh: Mesh) -> Object | None:
    """Builds what makes a gang of a PyTorchJob's pods, if its scheduler wants an object for that."""
    if scheduling.scheduler != "Volcano":
        return None
    return volcano.build_pod_group(owner, scheduling, _find_demand(scheduling, mesh), mesh.pods)


def build_scheduler(scheduling: Scheduling) -> Object:
    """Names the scheduler in the pods, if it is not the cluster's own."""
    names = {"Volcano": volcano.SCHEDULER, "KAI": kai.SCHEDULER}
    name = names.get(scheduling.scheduler)
    return {} if name is None else {"schedulerName": name}


def _find_demand(scheduling: Scheduling, mesh: Mesh) -> Demand:
    return find_demand(find_groups(mesh, scheduling.topology), mesh.pods)


def build_affinity(scheduling: Scheduling, mesh: Mesh, job: str, attempt: int) -> Object:
    """Affinity between the pods of an attempt; empty for a single one.

    Each pod prefers a node of its own. Where nobody places whole attempts the pods also attract each other. All have
    the same template, so the attempt can only stay together as a whole: tensor-parallel groups over nodes demand it,
    other groups prefer it.
    """
    if mesh.pods == 1:
        return {}
    pods = {"matchLabels": {JOB_LABEL: job, ATTEMPT_LABEL: str(attempt)}}
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [_prefer(_HOST, pods)]}
    near = [] if scheduling.places_whole_attempts else find_groups(mesh, scheduling.topology)
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
