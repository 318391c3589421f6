"""What stands beside the servers: which objects the spec asks for, and which it does not ask for any more."""

from collections.abc import Sequence

from customizer_operator.api.base import Object
from customizer_operator.objects.names import is_owned_by
from customizer_operator.plan.plan import (
    AUTOSCALER,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    NIM_SERVICE,
    SERVICE_MONITOR,
    Observed,
    Reference,
    Resource,
    Served,
    refer_to,
)

_MEMBERS = {
    AUTOSCALER: "autoscaling",
    INGRESS: "ingress",
    NETWORK_POLICY: "networkPolicy",
    HTTP_ROUTE: "httpRoute",
    SERVICE_MONITOR: "serviceMonitor",
}
"""The member of the spec that asks for it."""
_MISSING = {
    HTTP_ROUTE: ("the Gateway API", "httpRoute"),
    SERVICE_MONITOR: ("the Prometheus operator", "serviceMonitor"),
    NIM_SERVICE: ("NVIDIA's NIM operator", "backend"),
}
"""What brings a resource that not every cluster knows, and the member of the spec that asks for it."""

COMPANIONS: tuple[Resource, ...] = (DISRUPTION_BUDGET, *_MEMBERS)


def is_run_by_nvidia(subject: Object) -> bool:
    """Tells whether the servers of a ModelDeployment are those of a NIMService."""
    return bool((subject.get("spec") or {}).get("backend") == "NIMService")


def find_wanted(subject: Object) -> list[Resource]:
    """Returns the resources of which a ModelDeployment wants an object."""
    spec = subject.get("spec") or {}
    return [DISRUPTION_BUDGET, *(resource for resource, member in _MEMBERS.items() if spec.get(member) is not None)]


def ask_about_resources(subject: Object) -> list[Served]:
    """Asks whether the cluster knows what is wanted."""
    wanted = [*find_wanted(subject), *([NIM_SERVICE] if is_run_by_nvidia(subject) else [])]
    return [Served(resource) for resource in wanted if resource in _MISSING]


def find_missing(observed: Observed) -> str | None:
    """Tells of a resource that is wanted and that the cluster does not know."""
    for question in ask_about_resources(observed.subject):
        if observed.answers.get(question) is False:
            resource = question.resource
            what, member = _MISSING[resource]
            return f"The cluster does not know {resource.kind}s: install {what}, or remove spec.{member}."
    return None


def find_leftovers(observed: Observed) -> Sequence[Reference]:
    """Returns the objects that the spec does not ask for any more."""
    wanted = find_wanted(observed.subject)
    return [
        refer_to(resource, item)
        for resource in COMPANIONS
        if resource not in wanted
        for item in observed.of(resource)
        if is_owned_by(item, observed.subject["metadata"]["uid"])
    ]
