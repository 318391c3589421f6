"""What the KAI scheduler is told of an attempt, in labels and annotations."""

from customizer_operator.plan.placement import Demand

SCHEDULER = "kai-scheduler"
_PREFIX = "kai.scheduler"


def build_labels(queue: str, priority_class: str | None) -> dict[str, str]:
    """Labels of the workload that a queue admits."""
    priority = {} if priority_class is None else {"priorityClassName": priority_class}
    return {f"{_PREFIX}/queue": queue, **priority}


def build_job_annotations(demand: Demand, topology: str) -> dict[str, str]:
    """Annotations of the workload: the domain of the attempt as a whole.

    Without one, the topology is not named here: KAI never places a group that names one and none of its levels.
    """
    if demand.whole is None:
        return {}
    how = "required" if demand.whole_is_required else "preferred"
    return {f"{_PREFIX}/topology": topology, f"{_PREFIX}/topology-{how}-placement": demand.whole}


def build_pod_annotations(demand: Demand, topology: str) -> dict[str, str]:
    """Annotations of the pods: one level of segments, so that of the pods that talk most."""
    if not demand.slices:
        return {}
    inner = demand.slices[-1]
    return {
        f"{_PREFIX}/topology": topology,
        f"{_PREFIX}/segment-size": str(inner.size),
        f"{_PREFIX}/segment-topology-required-placement": inner.label,
    }
