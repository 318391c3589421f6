"""What the chosen scheduler is told of an attempt; where it knows no groups, affinity between the pods."""

from collections.abc import Sequence

from customizer_operator.api.base import ATTEMPT_LABEL, JOB_LABEL, Object
from customizer_operator.api.scheduling import Asked, Scheduling, Topology
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
    name = _find_kai_topology(scheduling)
    return {} if name is None else kai.build_job_annotations(_find_demand(scheduling, mesh), name)


def build_pod_annotations(scheduling: Scheduling, mesh: Mesh, attempt: str) -> dict[str, str]:
    """Annotations of the pods that tell which of them belong or must be together.

    Kueue is told nothing where no label is named: it refuses what asks for a topology from a flavor that has none.
    """
    match scheduling.scheduler:
        case "Volcano":
            return volcano.build_pod_annotations(attempt)
        case "KAI":
            name = _find_kai_topology(scheduling)
            return {} if name is None else kai.build_pod_annotations(_find_demand(scheduling, mesh), name)
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


def _find_kai_topology(scheduling: Scheduling) -> str | None:
    topology = scheduling.topology
    return None if scheduling.scheduler != "KAI" or topology is None else topology.name


def _find_demand(scheduling: Scheduling, mesh: Mesh) -> Demand:
    return find_demand(find_groups(mesh, scheduling.topology), mesh.pods)


def build_affinity(scheduling: Scheduling, mesh: Mesh, job: str, attempt: int) -> Object:
    """Affinity between the pods of an attempt; empty for a single one.

    Each pod prefers a node of its own. Where nobody places whole attempts the pods also attract each other. All have
    the same template, so that only the attempt as a whole can be asked to stay together: that is required where a
    tensor-parallel group spans nodes and a domain has room for the whole, and else preferred.
    """
    if mesh.pods == 1:
        return {}
    pods = {"matchLabels": {JOB_LABEL: job, ATTEMPT_LABEL: str(attempt)}}
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [_prefer(_HOST, pods)]}
    near = () if scheduling.places_whole_attempts else find_groups(mesh, scheduling.topology)
    labels = dict.fromkeys(group.label for group in near if group.spans_nodes and group.label is not None)
    strict = _find_strict_labels(near, scheduling.topology)
    together = {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": label, "labelSelector": pods} for label in labels if label in strict
        ],
        "preferredDuringSchedulingIgnoredDuringExecution": [
            _prefer(label, pods) for label in labels if label not in strict
        ],
    }
    attraction = {how: terms for how, terms in together.items() if terms}
    return {"affinity": {**({"podAffinity": attraction} if attraction else {}), "podAntiAffinity": apart}}


def find_asked(group: Group, scheduling: Scheduling, mesh: Mesh) -> Asked | None:
    """Returns how the objects above ask for the nearness of a group's pods; None if they do not."""
    topology = scheduling.topology
    if topology is None or group.label is None or not group.spans_nodes:
        return None
    labels = [label for _, label, _ in topology.domains]
    # One value of a finer label will do: a fast domain lies in one block.
    enough = set(labels[: labels.index(group.label) + 1])
    if not scheduling.places_whole_attempts:
        strict = _find_strict_labels(find_groups(mesh, topology), topology)
        return Asked.REQUIRED if enough & strict else Asked.PREFERRED
    demand = _find_demand(scheduling, mesh)
    # Kueue alone is told of slices within slices.
    slices = demand.slices if scheduling.scheduler == "Default" else demand.slices[-1:]
    is_whole_enough = demand.whole in enough
    if (demand.whole_is_required and is_whole_enough) or any(
        run.label in enough and run.size % group.size == 0 for run in slices
    ):
        return Asked.REQUIRED
    is_soft = is_whole_enough or (scheduling.scheduler == "Volcano" and volcano.prefers_whole(demand))
    return Asked.PREFERRED if is_soft else None


def _find_strict_labels(groups: Sequence[Group], topology: Topology | None) -> set[str | None]:
    """Returns the labels of which the whole attempt must have one value, where pods can only attract each other."""
    return {group.label for group in groups if _is_strict(group, topology)}


def _is_strict(group: Group, topology: Topology | None) -> bool:
    """Tells whether a tensor-parallel group needs its domain, and the whole attempt surely fits into one."""
    if group.parallelism is not Parallelism.TENSOR or not group.spans_nodes or topology is None:
        return False
    room = next((nodes for domain, _, nodes in topology.domains if domain is group.domain), None)
    return group.count == 1 or (room is not None and group.size * group.count <= room)


def _prefer(label: str, pods: Object) -> Object:
    return {"weight": _WEIGHT, "podAffinityTerm": {"topologyKey": label, "labelSelector": pods}}
