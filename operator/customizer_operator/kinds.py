"""The kinds that the operator handles: what each observes and how it decides. One row a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from customizer_operator.api.base import Object
from customizer_operator.plan.customization_job import ask_about_job, plan_job
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    DEPLOYMENT,
    JOB,
    MODEL_DEPLOYMENT,
    NIM_SERVICE,
    POD,
    PYTORCH_JOB,
    SERVICE,
    Observed,
    Plan,
    Question,
    Resource,
)
from customizer_operator.plan.serving import ask_about_deployment, plan_deployment
from customizer_operator.plan.serving_adapters import find_adapter_jobs
from customizer_operator.plan.serving_companions import COMPANIONS
from customizer_operator.plan.serving_source import find_job, is_meant
from customizer_operator.settings import Settings

OPTIONAL = frozenset({NIM_SERVICE, *COMPANIONS})
"""Children that only some specs ask for: without the right to list one of them, the operator gives up these alone."""


class Ref(NamedTuple):
    """An object of ours in the same namespace; of a name that ends in *, all whose names begin so."""

    resource: Resource
    name: str

    def means(self, name: str) -> bool:
        """Tells whether an object of that name is meant."""
        return is_meant(self.name, name)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is handled."""

    resource: Resource
    children: tuple[Resource, ...]
    """Resources of the objects that it makes, pods included; they are watched."""
    plan: Callable[[Observed], Plan]
    """Decides."""
    ask: Callable[[Observed], Sequence[Question]]
    """Says what the decision needs beyond the caches."""
    refers_to: Callable[[Object], Sequence[Ref]] | None = None
    """Names the objects of ours whose changes matter to an object of this kind, if there are any."""


def build_kinds(settings: Settings) -> tuple[Kind, ...]:
    """Returns the table."""
    return (
        Kind(
            resource=CUSTOMIZATION_JOB,
            children=(JOB, PYTORCH_JOB, POD),
            plan=lambda observed: plan_job(observed, settings.images),
            ask=ask_about_job,
        ),
        Kind(
            resource=MODEL_DEPLOYMENT,
            children=(JOB, DEPLOYMENT, SERVICE, NIM_SERVICE, POD, *COMPANIONS),
            plan=lambda observed: plan_deployment(observed, settings.images, settings.own_namespace),
            ask=ask_about_deployment,
            refers_to=_find_served_jobs,
        ),
    )


def _find_served_jobs(subject: Object) -> Sequence[Ref]:
    names = [find_job(subject), *find_adapter_jobs(subject)]
    return [Ref(CUSTOMIZATION_JOB, name) for name in dict.fromkeys(names) if name]
