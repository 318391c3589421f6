"""Why an attempt waits in its queue: what Kueue says, or that Kueue says nothing."""

from collections.abc import Sequence

from customizer_operator.api.base import Object
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.plan import (
    LOCAL_QUEUE,
    PYTORCH_JOB,
    WORKLOAD,
    Exists,
    Listed,
    PendingWorkloads,
    Question,
)
from customizer_operator.plan.waiting import REACT_WITHIN, Waiting

_JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
_CLOSED = frozenset({"Inadmissible", "Misconfigured", "Suspended", "Deactivated", "ExceedsMaxQuota"})
"""Kueue's reasons for what it does not admit until somebody changes something."""


def ask_queue(view: JobView, attempt: int) -> list[Question]:
    """Asks Kueue about an attempt that is not admitted: first for its Workload, then for what belongs to that."""
    job, queue = _find_suspended(view, attempt), view.job.spec.scheduling.local_queue
    if job is None or queue is None:
        return []
    namespace = view.job.metadata.namespace
    workloads = _workloads_question(view, job)
    questions: list[Question] = [workloads]
    if view.observed.answers.get(workloads):
        questions += [Exists(LOCAL_QUEUE, namespace, queue), PendingWorkloads(namespace, queue)]
    return questions


def explain_queue(view: JobView, attempt: int) -> Waiting | None:
    """Returns why an attempt is not admitted, None when it is, or when Kueue has had no time yet."""
    job, queue = _find_suspended(view, attempt), view.job.spec.scheduling.local_queue
    if job is None or queue is None:
        return None
    name = job["metadata"]["name"]
    workloads = view.observed.answers.get(_workloads_question(view, job))
    if not isinstance(workloads, list):
        return Waiting(
            ConditionReason.QUEUE_MISSING,
            f"spec.scheduling.queue names LocalQueue {queue}, but the cluster does not run Kueue: install it, or remove"
            " the queue.",
            needs_help=True,
        )
    if workloads:
        return _explain_workload(view, name, queue, workloads[0])
    training_job = view.find_training_job(attempt)
    if training_job is None or view.now - training_job.created_at <= REACT_WITHIN:
        return None
    return Waiting(
        ConditionReason.QUEUE_INTEGRATION_OFF,
        f"Kueue takes no notice of PyTorchJob {name}: add kubeflow.org/pytorchjob to integrations.frameworks in Kueue's"
        " configuration, and check that it manages this namespace.",
        needs_help=True,
    )


def _explain_workload(view: JobView, name: str, queue: str, workload: Object) -> Waiting | None:
    namespace = view.job.metadata.namespace
    conditions = {entry["type"]: entry for entry in workload.get("status", {}).get("conditions") or ()}
    if _is_true(conditions, "Admitted"):
        return None
    if view.observed.answers.get(Exists(LOCAL_QUEUE, namespace, queue)) is None:
        return Waiting(
            ConditionReason.QUEUE_MISSING,
            f"LocalQueue {queue} does not exist in namespace {namespace}: create it, or correct spec.scheduling.queue.",
            needs_help=True,
        )
    if _is_true(conditions, "QuotaReserved"):
        checks = ", ".join(_tell_check(check) for check in workload["status"].get("admissionChecks") or ())
        text = (
            f"Kueue has reserved quota for PyTorchJob {name} and waits for its admission checks: {checks}. It goes on"
            " when they are done; if they never are, look at what does them."
        )
        return Waiting(ConditionReason.QUEUED, text, needs_help=False)
    verdict = conditions.get("QuotaReserved", {})
    why = str(verdict.get("message") or "it has not been looked at yet").rstrip(".")
    if verdict.get("reason") in _CLOSED:
        text = f"Kueue does not admit PyTorchJob {name} through LocalQueue {queue}: {why}. Have the queue corrected."
        return Waiting(ConditionReason.QUEUE_CLOSED, text, needs_help=True)
    position = _find_position(view, queue, workload["metadata"]["name"])
    eviction = str(conditions.get("Evicted", {}).get("message", "")).rstrip(".")
    evicted = f" It was evicted: {eviction}." if _is_true(conditions, "Evicted") else ""
    text = (
        f"PyTorchJob {name} waits{position} in LocalQueue {queue}: {why}.{evicted} It starts when its turn comes; or"
        " ask for less, or have the quota raised."
    )
    return Waiting(ConditionReason.QUEUED, text, needs_help=False)


def _find_suspended(view: JobView, attempt: int) -> Object | None:
    """Returns the attempt's PyTorchJob while it is suspended, which is how Kueue holds it back."""
    known = view.find_training_job(attempt)
    job = None if known is None else view.observed.named(PYTORCH_JOB, known.name)
    return job if job is not None and job["spec"].get("runPolicy", {}).get("suspend") else None


def _workloads_question(view: JobView, job: Object) -> Listed:
    return Listed(WORKLOAD, view.job.metadata.namespace, f"{_JOB_UID_LABEL}={job['metadata']['uid']}")


def _find_position(view: JobView, queue: str, workload: str) -> str:
    """Returns the place in the queue, nothing where Kueue does not serve it."""
    answer = view.observed.answers.get(PendingWorkloads(view.job.metadata.namespace, queue))
    pending: Sequence[Object] = answer if isinstance(answer, list) else ()
    for item in pending:
        if item["metadata"]["name"] == workload:
            return f" as number {item['positionInLocalQueue'] + 1}"
    return ""


def _is_true(conditions: dict[str, Object], kind: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == "True")


def _tell_check(check: Object) -> str:
    message = f" ({check['message']})" if check.get("message") else ""
    return f"{check['name']} is {check['state']}{message}"
