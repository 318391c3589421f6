"""What Kueue is told of an attempt, in labels and annotations."""

import json

from customizer_operator.plan.placement import Demand, Slice

_PREFIX = "kueue.x-k8s.io"


def build_labels(queue: str, priority_class: str | None) -> dict[str, str]:
    """Labels of the workload that a LocalQueue admits."""
    priority = {} if priority_class is None else {f"{_PREFIX}/priority-class": priority_class}
    return {f"{_PREFIX}/queue-name": queue, **priority}


def build_annotations(demand: Demand) -> dict[str, str]:
    """Annotations of the pods that tell which of them must be near each other."""
    annotations = {**_annotate_whole(demand), **_annotate_slices(demand.slices)}
    return annotations or {f"{_PREFIX}/podset-unconstrained-topology": "true"}


def _annotate_whole(demand: Demand) -> dict[str, str]:
    if demand.whole is None:
        return {}
    how = "required" if demand.whole_is_required else "preferred"
    return {f"{_PREFIX}/podset-{how}-topology": demand.whole}


def _annotate_slices(slices: tuple[Slice, ...]) -> dict[str, str]:
    if len(slices) > 1:
        levels = [{"topology": item.label, "size": item.size} for item in slices]
        return {f"{_PREFIX}/podset-slice-required-topology-constraints": json.dumps(levels)}
    return {
        name: value
        for item in slices
        for name, value in (
            (f"{_PREFIX}/podset-slice-required-topology", item.label),
            (f"{_PREFIX}/podset-slice-size", str(item.size)),
        )
    }
