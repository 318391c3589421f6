"""Where the pods of an attempt were placed, by what was asked for."""

from collections.abc import Sequence

from customizer_operator.api.customization_job_status import Attempt, GrantedGroup, GrantedPlacement
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.placement import Group, Mesh, crosses_nodes, find_granted, find_groups, find_mesh
from customizer_operator.plan.plan import NodeLabels, Question

_MOST_GROUPS = 128


def ask_for_nodes(view: JobView, attempts: Sequence[Attempt]) -> list[Question]:
    """Asks for the labels of the nodes when an attempt has its nodes, and labels are to be compared."""
    mesh = _find_mesh(view)
    if mesh is None or not _is_news(view, attempts):
        return []
    return [NodeLabels()] if any(group.label is not None for group in _find_groups(view, mesh)) else []


def find_placement(view: JobView, attempts: Sequence[Attempt]) -> GrantedPlacement | None:
    """Returns where the newest attempt was placed, when that has just become known."""
    mesh = _find_mesh(view)
    if mesh is None or not _is_news(view, attempts):
        return None
    answer = view.observed.answers.get(NodeLabels())
    labels = answer if isinstance(answer, dict) else {}
    groups = _find_groups(view, mesh)
    if not labels and any(group.label is not None for group in groups):
        return None
    found = [
        GrantedGroup(
            parallelism=group.parallelism,
            group=granted.number,
            nodes=list(granted.nodes),
            domains=list(granted.domains) or None,
        )
        for group in groups
        for granted in find_granted(group, attempts[-1].nodes or (), labels)
    ]
    crossing = [group for group in found if len(group.domains or ()) > 1]
    within = [group for group in found if len(group.domains or ()) <= 1]
    return GrantedPlacement(
        attempt=attempts[-1].number,
        groups=[*crossing, *within][:_MOST_GROUPS] or None,
        crossing=len(crossing),
        tensor_parallel_crosses_nodes=crosses_nodes(mesh),
    )


def _find_mesh(view: JobView) -> Mesh | None:
    outline = view.job.spec.outline
    return None if outline is None else find_mesh(outline)


def _find_groups(view: JobView, mesh: Mesh) -> list[Group]:
    return [group for group in find_groups(mesh, view.job.spec.scheduling.topology) if group.spans_nodes]


def _is_news(view: JobView, attempts: Sequence[Attempt]) -> bool:
    known = view.status.placement
    return bool(attempts and attempts[-1].nodes) and (known is None or known.attempt != attempts[-1].number)
