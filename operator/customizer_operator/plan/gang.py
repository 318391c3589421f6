"""The PodGroup of an attempt that Volcano places: made once its PyTorchJob is there, and gone with it."""

from customizer_operator.api.base import Object
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.objects.names import attempt_name
from customizer_operator.objects.scheduling import build_pod_group
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.placement import find_mesh
from customizer_operator.plan.plan import POD_GROUP, PYTORCH_JOB, Exists, Question, Served
from customizer_operator.plan.waiting import Waiting

_SERVED = Served(POD_GROUP)


def ask_gang(view: JobView, attempt: int) -> list[Question]:
    """Asks for the PodGroup of an attempt whose scheduler wants one."""
    return [_SERVED, _find_question(view, attempt)] if _build(view, attempt) is not None else []


def find_gang(view: JobView, attempt: int) -> tuple[Object, ...]:
    """Returns the PodGroup that is missing."""
    group = _build(view, attempt)
    present = view.observed.answers.get(_find_question(view, attempt))
    return () if group is None or present or not view.observed.answers.get(_SERVED) else (group,)


def explain_gang(view: JobView, attempt: int) -> Waiting | None:
    """Returns that a PodGroup is wanted which the cluster does not know."""
    if _build(view, attempt) is None or view.observed.answers.get(_SERVED) is not False:
        return None
    return Waiting(
        ConditionReason.QUEUE_MISSING,
        "spec.scheduling.scheduler is Volcano, but the cluster does not know its PodGroups: install Volcano, or choose"
        " another scheduler.",
        needs_help=True,
    )


def _find_question(view: JobView, attempt: int) -> Exists:
    return Exists(POD_GROUP, view.job.metadata.namespace, attempt_name(view.job.metadata.name, attempt))


def _build(view: JobView, attempt: int) -> Object | None:
    outline, known = view.job.spec.outline, view.find_training_job(attempt)
    owner = None if known is None else view.observed.named(PYTORCH_JOB, known.name)
    if outline is None or owner is None:
        return None
    return build_pod_group(owner, view.job.spec.scheduling, find_mesh(outline))
