"""Attempts: which there were, how one ended, whether and when the next one starts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import MISSED_ANOTHER, ExitCode, Reason
from customizer_contract.result import ArtifactReference, Problem
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome, ConditionReason
from customizer_operator.plan.pods import End, Pod

WORKER_LOST = "WorkerLost"
"""A worker's pod vanished: deleted by hand, or with its node."""
TRAINING_JOB_DELETED = "TrainingJobDeleted"
"""Somebody deleted the attempt's PyTorchJob."""
TRAINING_JOB_FAILED = "TrainingJobFailed"
"""training-operator gave the PyTorchJob up, and no pod tells why."""
RESULT_LOST = "ResultLost"
"""The pods succeeded but nothing tells with which result; the next attempt finds what they published."""
HUNG = "Hung"
"""Pods run and nothing moves."""

_PATIENCE = timedelta(seconds=15)
"""How long other ranks may take to tell that they failed earlier than the one that was heard first."""
_FIRST_PAUSE = timedelta(seconds=10)
_LAST_PAUSE = timedelta(seconds=300)
_BAD_AFTER = 2
"""Attempts that end on a node until the next ones avoid it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    outcome: AttemptOutcome
    reason: str
    message: str
    retryable: bool
    artifact: ArtifactReference | None = None
    node: str | None = None
    """Node of the pod that ended the attempt."""
    silent: tuple[str, str] | None = None
    """Pod and container that ended the attempt without a word: its log may tell more."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A PyTorchJob as decisions see it."""

    name: str
    uid: str
    number: int
    created_at: datetime
    deleting: bool
    reacted: bool
    """Whether training-operator has taken notice of it."""
    succeeded: bool
    failed: bool
    message: str

    @property
    def is_finished(self) -> bool:
        """Tells whether training-operator has done with it."""
        return self.succeeded or self.failed


def find_ending(
    attempt: Attempt, job: TrainingJob | None, pods: Sequence[Pod], replicas: int, now: datetime
) -> Ending | None:
    """Returns how an attempt ended, None while it goes on.

    The operator owns the gang: one rank that failed or is lost ends the attempt for all. The first rank that failed
    decides, not the first that was heard of.
    """
    if (published := find_artifact(pods)) is not None:
        return Ending(AttemptOutcome.SUCCEEDED, "Succeeded", "", retryable=False, artifact=published)
    if failed := [pod for pod in pods if pod.failure or pod.phase == "Failed"]:
        ending = _judge_failure(failed, pods, replicas, now)
        if ending is None or ending.reason not in MISSED_ANOTHER:
            return ending
        # training-operator removes pods of a job that it gave up: only before that a missing one is a lost one.
        goes_on = job is not None and not job.is_finished
        lost = _find_overdue(pods, now) or (_find_lost_worker(attempt, pods, replicas) if goes_on else None)
        return lost or _find_missed(ending, pods)
    if job is None:
        return _preempted(TRAINING_JOB_DELETED, "The attempt's PyTorchJob was deleted.")
    if job.succeeded:
        return _preempted(RESULT_LOST, "The pods succeeded, but were gone before their result was read.")
    if (lost := _find_overdue(pods, now) or _find_lost_worker(attempt, pods, replicas)) is not None:
        return lost
    if job.failed:
        message = (
            f"training-operator gave PyTorchJob {job.name} up: {job.message.rstrip('.') or 'it does not say why'}."
            " Read its events and training-operator's log."
        )
        return Ending(AttemptOutcome.FAILED, TRAINING_JOB_FAILED, message, retryable=True)
    return None


def find_artifact(pods: Sequence[Pod]) -> ArtifactReference | None:
    """Returns what a pod says that it published."""
    results = (end.result for pod in pods for end in pod.ends if end.exit_code == 0)
    return next((result.artifact for result in results if result is not None and result.artifact is not None), None)


def _judge_failure(failed: Sequence[Pod], pods: Sequence[Pod], replicas: int, now: datetime) -> Ending | None:
    first = min(failed, key=_failed_before)
    everyone_spoke = len(pods) >= replicas and all(pod.is_over or pod.must_be_gone_at for pod in pods)
    if not everyone_spoke and first.failure is not None and now < first.failure.finished_at + _PATIENCE:
        return None
    return judge_pod(first)


def _failed_before(pod: Pod) -> tuple[bool, datetime, int, int]:
    """Sorts by the time of the failure; within a second, what knows its reason comes before what was torn down.

    A pod that only missed another one comes last, whenever it ended.
    """
    end = pod.failure
    if end is None:
        return False, pod.created_at, 0, pod.rank
    problem = _find_problem(end)
    missed_another = problem is not None and problem.reason in MISSED_ANOTHER
    if pod.disruption is not None:
        certainty = -1
    elif end.exit_code == ExitCode.PREEMPTED:
        certainty = 3
    elif problem is None:
        certainty = 2 if end.cause != "OOMKilled" else 0
    else:
        certainty = 1 if problem.reason is Reason.CRASHED else 0
    return missed_another, end.finished_at, certainty, pod.rank


def _find_problem(end: End) -> Problem | None:
    """Returns why a container says that it failed.

    Where the kernel kills one process of a container for its memory and not all, the others live to say that they
    missed it, or that it crashed. Kubernetes knows better.
    """
    problem = end.result.error if end.result is not None else None
    knows_less = problem is not None and (problem.reason in MISSED_ANOTHER or problem.reason is Reason.CRASHED)
    return None if knows_less and end.cause == "OOMKilled" else problem


def judge_pod(pod: Pod) -> Ending:
    """Returns what a failed pod means for its attempt. Exit code and catalogue decide, never the text."""
    return replace(_judge(pod), node=pod.node)


def _judge(pod: Pod) -> Ending:
    end = pod.failure
    if pod.disruption is not None:
        return _preempted(pod.disruption, f"Kubernetes took pod {pod.name} away ({pod.disruption}).")
    if end is None:
        return _preempted(WORKER_LOST, f"Pod {pod.name} failed without having run.")
    if end.exit_code == ExitCode.PREEMPTED:
        return _preempted(Reason.PREEMPTED, f"Pod {pod.name} was told to stop and saved what it could.")
    problem = _find_problem(end)
    if problem is None and end.cause != "OOMKilled" and pod.must_be_gone_at is not None:
        return _preempted(WORKER_LOST, f"Pod {pod.name} was deleted.")
    if problem is not None:
        return _failed(problem.reason, describe_problem(problem), CATALOGUE[problem.reason].retryable)
    return _judge_silent(pod, end)


def _judge_silent(pod: Pod, end: End) -> Ending:
    """Judges a container that left no result: it was killed, or crashed too hard to write one."""
    what = f"Container {end.container} of pod {pod.name} ended with exit code {end.exit_code}"
    if end.cause == "OOMKilled":
        entry = CATALOGUE[Reason.OUT_OF_MEMORY]
        return _failed(Reason.OUT_OF_MEMORY, f"{what}: out of memory. {entry.remedy}", entry.retryable)
    final = end.exit_code in (ExitCode.BAD_JOB, ExitCode.BAD_INPUT)
    reason = Reason.JOB_FILE_INVALID if end.exit_code == ExitCode.BAD_JOB else Reason.CRASHED
    told = _failed(reason, f"{what}. {CATALOGUE[reason].remedy}", not final)
    return replace(told, silent=(pod.name, end.container))


def _find_missed(ending: Ending, pods: Sequence[Pod]) -> Ending:
    """Returns the end of an attempt of which every rank that spoke only missed another one; their nodes are sound.

    That Kubernetes took the other one away counts. Else its node is named, if it is the only one that is silent.
    """
    if (taken := next((pod for pod in pods if pod.disruption is not None), None)) is not None:
        return judge_pod(taken)
    silent = [pod for pod in pods if pod.failure is None and not pod.is_over]
    return replace(ending, node=silent[0].node if len(silent) == 1 else None)


def _find_overdue(pods: Sequence[Pod], now: datetime) -> Ending | None:
    """Returns the end of an attempt of which a node is lost."""
    overdue = next((pod for pod in pods if not pod.is_over and pod.is_overdue(now)), None)
    if overdue is None:
        return None
    text = f"Pod {overdue.name} had to be gone long ago: its node {overdue.node} is lost."
    return replace(_preempted(WORKER_LOST, text), node=overdue.node)


def _find_lost_worker(attempt: Attempt, pods: Sequence[Pod], replicas: int) -> Ending | None:
    """Returns the end of an attempt of which a worker is missing or was made anew after the gang had begun to run.

    training-operator makes a pod that was deleted anew, under the same name; its ranks would wait for ever for those
    that were left alone.
    """
    if attempt.running_at is not None:
        present = {pod.rank for pod in pods}
        missing = [rank for rank in range(replicas) if rank not in present]
        if missing:
            return _lose(attempt, missing[0], f"The pod of rank {missing[0]} is gone.")
    anew = _find_straggler(attempt, pods)
    if anew is None:
        return None
    return _lose(attempt, anew.rank, f"Pod {anew.name} was deleted and made anew while the others ran.")


def _lose(attempt: Attempt, rank: int, message: str) -> Ending:
    """Returns the end of an attempt that lost a rank, with the node on which that had begun."""
    nodes = attempt.nodes or []
    return replace(_preempted(WORKER_LOST, message), node=nodes[rank] if rank < len(nodes) else None)


def _find_straggler(attempt: Attempt, pods: Sequence[Pod]) -> Pod | None:
    """Returns a pod that was made after all pods had their nodes, while some run.

    Before that any pod may come late: a quota lets them in one by one. Only times that the control plane has given are
    compared.
    """
    began = attempt.running_at is not None or any(pod.started_at is not None for pod in pods)
    placed = attempt.placed_at
    return next((pod for pod in pods if began and placed is not None and pod.created_at > placed), None)


def describe_problem(problem: Problem) -> str:
    """Writes an error of the catalogue with its place, on one line."""
    place = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    field = f" (field {problem.field})" if problem.field is not None else ""
    if not place or (problem.file is not None and problem.file in problem.message):
        return problem.message
    return f"{place}{field}: {problem.message}"


def _preempted(reason: str, message: str) -> Ending:
    return Ending(AttemptOutcome.PREEMPTED, str(reason), message, retryable=True)


def _failed(reason: Reason, message: str, retryable: bool) -> Ending:
    return Ending(AttemptOutcome.FAILED, str(reason), message, retryable=retryable)


def count_failures(attempts: Sequence[Attempt]) -> int:
    """Counts the attempts that count against failurePolicy.maxAttempts."""
    return sum(attempt.outcome is AttemptOutcome.FAILED for attempt in attempts)


def find_bad_nodes(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Returns the nodes on which an attempt ended twice or more; what Kubernetes took away says nothing of a node."""
    ended = Counter(
        attempt.failed_node
        for attempt in attempts
        if attempt.failed_node is not None
        and (attempt.outcome is AttemptOutcome.FAILED or attempt.reason == WORKER_LOST)
    )
    return tuple(sorted(node for node, times in ended.items() if times >= _BAD_AFTER))


def find_deadline(attempts: Sequence[Attempt], seconds: int | None, now: datetime) -> Ending | None:
    """Returns the end of a job whose attempts have held nodes for too long."""
    if seconds is None or measure_holding(attempts, now) < timedelta(seconds=seconds):
        return None
    message = (
        f"The attempts held nodes for more than activeDeadlineSeconds ({seconds}): apply the job under another name"
        " with a longer deadline; or with fewer steps, or more nodes."
    )
    return Ending(AttemptOutcome.FAILED, ConditionReason.DEADLINE_EXCEEDED, message, retryable=False)


def measure_holding(attempts: Sequence[Attempt], now: datetime) -> timedelta:
    """Returns how long pods held their nodes."""
    held = [(a.ended_at or now) - a.placed_at for a in attempts if a.placed_at is not None]
    return sum((max(span, timedelta()) for span in held), timedelta())


def find_next_start(attempts: Sequence[Attempt]) -> datetime | None:
    """Returns when the next attempt may start; None means at once.

    Failures in a row double the pause. An attempt that was preempted after it ran is followed at once; one that never
    ran pauses too, so that a cluster that keeps evicting it is not kept busy.
    """
    last = attempts[-1] if attempts else None
    if last is None or last.ended_at is None or last.outcome is AttemptOutcome.SUSPENDED:
        return None
    in_a_row = 0
    for attempt in reversed(attempts):
        ran = attempt.outcome is AttemptOutcome.PREEMPTED and attempt.running_at is not None
        if ran or attempt.outcome is AttemptOutcome.SUSPENDED:
            break
        in_a_row += 1
    if in_a_row == 0:
        return None
    return last.ended_at + min(_LAST_PAUSE, _FIRST_PAUSE * 2.0 ** min(in_a_row - 1, 10))
