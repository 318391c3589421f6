"""What is left to do for a job that has ended: its last pods release their nodes, and some day it is deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from customizer_operator.api.reasons import ConditionReason, ConditionType
from customizer_operator.plan.attempts import TrainingJob
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, PYTORCH_JOB, Question, Reference

_COMPLETE_GRACE = timedelta(minutes=5)
"""How long pods may go on after the artifact is published, and training-operator may take to stop them."""
_FAILED_GRACE = timedelta(seconds=30)
"""How long training-operator may take to stop the pods of a job that failed."""
_STOPPED_BY_US = (ConditionReason.DEADLINE_EXCEEDED,)
"""Reasons of a failure that no pod has told: nobody but the operator stops the pods."""


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left to do."""

    delete: tuple[Reference, ...] = ()
    again_after: float | None = None


def ask_about_leftovers(view: JobView) -> Sequence[Question]:
    """Asks for PyTorchJobs and pods that should have ended: the watches may have missed that they did."""
    ended = _find_end(view)
    if ended is None or view.now < ended + _grace(view):
        return ()
    jobs = [view.training_job_question(job.number) for job in view.training_jobs if _holds_nodes(view, job)]
    return (*jobs, *(view.pod_question(pod) for pod in view.live_pods))


def finish(view: JobView) -> Remainder:
    """Returns what is due now, and when the next thing will be."""
    ended = _find_end(view)
    if ended is None:
        return Remainder()
    ttl = view.job.spec.ttl_seconds_after_finished
    expiry = None if ttl is None else ended + timedelta(seconds=ttl)
    metadata = view.job.metadata
    if expiry is not None and view.now >= expiry:
        return Remainder(delete=(Reference(CUSTOMIZATION_JOB, metadata.namespace, metadata.name, metadata.uid),))
    leftovers = [job for job in view.training_jobs if _holds_nodes(view, job)]
    release = ended + _grace(view)
    moments = [moment for moment in (expiry, release if leftovers else None) if moment is not None]
    again = min((moment - view.now).total_seconds() for moment in moments) if moments else None
    if leftovers and view.now >= release:
        gone = tuple(Reference(PYTORCH_JOB, metadata.namespace, job.name, job.uid) for job in leftovers)
        return Remainder(gone, None if expiry is None else (expiry - view.now).total_seconds())
    return Remainder(again_after=again)


def _holds_nodes(view: JobView, job: TrainingJob) -> bool:
    """Tells whether pods run, or may yet be made, that nobody stops."""
    lives = any(pod.owner_uid == job.uid for pod in view.live_pods)
    return not job.deleting and (lives or not job.is_finished)


def _find_end(view: JobView) -> datetime | None:
    final = (ConditionType.COMPLETE, ConditionType.FAILED)
    return next(
        (c.last_transition_time for c in view.status.conditions or () if c.type in final and c.status == "True"), None
    )


def _grace(view: JobView) -> timedelta:
    for condition in view.status.conditions or ():
        if condition.type == ConditionType.FAILED and condition.status == "True":
            return timedelta() if condition.reason in _STOPPED_BY_US else _FAILED_GRACE
    return _COMPLETE_GRACE
