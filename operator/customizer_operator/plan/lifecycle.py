"""What comes next for a CustomizationJob: preflight, an attempt, another one, or the end. One decision a look."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum, auto

from customizer_contract.result import ArtifactReference, DatasetFacts, ModelFacts
from customizer_operator.api.customization_job_status import Attempt, CustomizationJobStatus
from customizer_operator.api.reasons import AttemptOutcome, ConditionReason, ConditionType
from customizer_operator.plan.attempt_records import end_attempt, find_warnings, observe_attempt
from customizer_operator.plan.attempts import (
    HUNG,
    TRAINING_JOB_DELETED,
    Ending,
    TrainingJob,
    count_failures,
    find_deadline,
    find_ending,
    find_next_start,
)
from customizer_operator.plan.half_placed import find_release
from customizer_operator.plan.hangs import find_hang, find_unheard, note_silence
from customizer_operator.plan.job_view import JobView, Preflight, merge_attempts
from customizer_operator.plan.plan import Question
from customizer_operator.plan.pods import Pod
from customizer_operator.plan.preflight import judge_preflight
from customizer_operator.plan.progress import parse_progress

_FAILED_JOB_GRACE = timedelta(seconds=30)
"""How long training-operator has to mark the PyTorchJob of a failed attempt, before it is deleted with its pods."""

_FINISHED_JOB_GRACE = timedelta(minutes=5)
"""How long training-operator has to stop the pods of a PyTorchJob that has finished."""

_CLEAR_UP_SECONDS = 10.0
"""How often to look whether what must go has gone."""


class Stage(Enum):
    """Where a job is."""

    PREFLIGHT_DUE = auto()
    PREFLIGHT = auto()
    ATTEMPT_DUE = auto()
    PLACING = auto()
    STARTING = auto()
    RUNNING = auto()
    ENDING = auto()
    PAUSING = auto()
    SUSPENDED = auto()
    PLANNED = auto()
    COMPLETE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job is given up."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a job is and what is to be done."""

    stage: Stage
    attempts: tuple[Attempt, ...] = ()
    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None
    artifact: ArtifactReference | None = None
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    retry_preflight: Preflight | None = None
    """A preflight Job that passed but whose verdict nobody can read any more: deleted, then made anew."""
    stop: tuple[TrainingJob, ...] = ()
    """PyTorchJobs to delete; their attempts are recorded already."""
    pause_seconds: float | None = None
    ended_now: tuple[Attempt, ...] = field(default=())
    """Attempts whose end this very decision found."""
    questions: tuple[Question, ...] = ()
    """What would tell more of the end that this decision found, or whether it is one."""

    @property
    def due_attempt(self) -> int:
        """Returns the number of the attempt to start."""
        return self.attempts[-1].number + 1 if self.attempts else 1


def is_over(status: CustomizationJobStatus) -> Stage | None:
    """Returns the final stage of a job that has ended: it is left alone, whatever its spec says by now."""
    for condition in status.conditions or ():
        if condition.status == "True" and condition.type == ConditionType.COMPLETE:
            return Stage.COMPLETE
        # An operator that did not understand the spec may be followed by one that does.
        understood = condition.reason != ConditionReason.INVALID_SPEC
        if condition.status == "True" and condition.type == ConditionType.FAILED and understood:
            return Stage.FAILED
    return None


def decide(view: JobView) -> Decision:
    """Decides from what is observed alone; the same observation gives the same decision."""
    attempts = merge_attempts(view.status.attempts or (), view.training_jobs)
    decision = Decision(
        Stage.ATTEMPT_DUE, dataset=view.status.dataset, model=view.status.model, artifact=view.status.artifact
    )
    if decision.artifact is not None:
        # Published, whatever has become of the conditions: an operator that did not understand the spec took them back.
        return replace(decision, stage=Stage.COMPLETE, attempts=tuple(attempts))
    if view.status.dataset is None:
        preflight = _decide_preflight(view)
        if preflight.dataset is not None:
            decision = preflight
        elif not attempts:
            return preflight
    return _decide_strays(view, _decide_attempts(view, attempts, decision))


def _decide_strays(view: JobView, decision: Decision) -> Decision:
    """Adds that PyTorchJobs of earlier attempts stop which still go on, as one that was taken for deleted may.

    What the caches believe of them is asked for first.
    """
    newest = decision.attempts[-1].number if decision.attempts else 0
    strays = [job for job in view.training_jobs if job.number < newest and not job.is_finished and not job.deleting]
    questions = tuple(view.training_job_question(job.number) for job in strays)
    return replace(decision, stop=(*decision.stop, *strays), questions=(*decision.questions, *questions))


def _decide_preflight(view: JobView) -> Decision:
    suspended = view.job.spec.suspend
    preflight = view.preflight
    if preflight is None:
        return Decision(Stage.SUSPENDED if suspended else Stage.PREFLIGHT_DUE)
    verdict = judge_preflight(preflight)
    if verdict is None:
        return Decision(Stage.PREFLIGHT)
    if verdict.failure is not None:
        return Decision(Stage.FAILED, failure=Failure(*verdict.failure), warnings=verdict.warnings)
    if verdict.dataset is None:
        return Decision(Stage.PREFLIGHT, retry_preflight=preflight)
    return Decision(Stage.ATTEMPT_DUE, dataset=verdict.dataset, model=verdict.model, warnings=verdict.warnings)


def _decide_attempts(view: JobView, attempts: list[Attempt], so_far: Decision) -> Decision:
    if not attempts:
        return replace(so_far, stage=_find_first_stage(view))
    current = attempts[-1]
    pods = view.find_pods(current.number)
    job = view.find_training_job(current.number)
    current = observe_attempt(current, pods, view)
    history = (*attempts[:-1], current)
    recorded = current.outcome is not None
    ending = find_ending(current, job, pods, view.replicas, view.now)
    if ending is not None and ending.artifact is not None:
        # What was published counts, even if the attempt was told to stop meanwhile.
        done = end_attempt(current, ending, pods, view)
        return replace(
            so_far,
            stage=Stage.COMPLETE,
            attempts=(*attempts[:-1], done),
            artifact=ending.artifact,
            warnings=so_far.warnings + find_warnings(pods),
            ended_now=(done,),
        )
    if recorded:
        return _decide_after(view, history, job, so_far)
    if ending is None and view.job.spec.suspend:
        ending = Ending(AttemptOutcome.SUSPENDED, "Suspended", "spec.suspend is true.", retryable=True)
    stage = _find_stage(pods, view.replicas)
    ending = ending or _find_release(view, current, pods)
    ending = ending or find_deadline(history, view.job.spec.active_deadline_seconds, view.now)
    question = view.progress_question(current.number)
    if ending is None and stage is Stage.RUNNING and question is not None and question in view.observed.answers:
        told = parse_progress(view.observed.answers[question])
        ending = find_hang(current, told, view.job.spec.failure_policy, view.now)
        current = note_silence(current, told, view.now)
        history = (*attempts[:-1], current)
        so_far = replace(so_far, warnings=so_far.warnings + find_unheard(current, view.now))
    if ending is not None:
        questions: list[Question] = [] if ending.silent is None else [view.log_question(*ending.silent)]
        if ending.reason == TRAINING_JOB_DELETED:
            questions.append(view.training_job_question(current.number))
        so_far = replace(so_far, questions=tuple(questions))
        return _conclude(view, history, end_attempt(current, ending, pods, view), so_far, find_warnings(pods))
    return replace(so_far, stage=stage, attempts=history)


def _find_release(view: JobView, attempt: Attempt, pods: Sequence[Pod]) -> Ending | None:
    """Returns that a half-placed attempt gives up its nodes, where nobody places all of its pods or none."""
    scheduling = view.job.spec.scheduling
    if scheduling.places_whole_attempts:
        return None
    queued = scheduling.queue is not None
    return find_release(attempt, pods, view.replicas, view.job.metadata.uid, view.now, queued=queued)


def _conclude(
    view: JobView, history: tuple[Attempt, ...], ended: Attempt, so_far: Decision, warnings: tuple[str, ...]
) -> Decision:
    """Records an attempt's end. Nothing is deleted before the record is written."""
    attempts = (*history[:-1], ended)
    failure = _find_failure(attempts, view.job.spec.failure_policy.max_attempts)
    return replace(
        so_far,
        stage=Stage.ENDING if failure is None else Stage.FAILED,
        attempts=attempts,
        failure=failure,
        warnings=so_far.warnings + warnings,
        ended_now=(ended,),
    )


def _decide_after(view: JobView, history: tuple[Attempt, ...], job: TrainingJob | None, so_far: Decision) -> Decision:
    """Decides what follows a recorded end: clear up, pause, start anew, or give up."""
    ended = history[-1]
    if ended.outcome is AttemptOutcome.SUCCEEDED:
        return replace(so_far, stage=Stage.COMPLETE, attempts=history)
    failure = _find_failure(history, view.job.spec.failure_policy.max_attempts)
    if failure is not None:
        return replace(so_far, stage=Stage.FAILED, attempts=history, failure=failure)
    if job is not None and not job.is_finished:
        told_by_pods = ended.outcome is AttemptOutcome.FAILED and ended.reason != HUNG
        patience = _FAILED_JOB_GRACE if told_by_pods else timedelta()
        overdue = ended.ended_at is None or view.now >= ended.ended_at + patience
        stop = (job,) if overdue and not job.deleting else ()
        return replace(so_far, stage=Stage.ENDING, attempts=history, stop=stop, pause_seconds=_CLEAR_UP_SECONDS)
    if view.live_pods:
        forgotten = job is not None and ended.ended_at is not None and view.now > ended.ended_at + _FINISHED_JOB_GRACE
        stop = (job,) if job is not None and forgotten and not job.deleting else ()
        return replace(so_far, stage=Stage.ENDING, attempts=history, stop=stop, pause_seconds=_CLEAR_UP_SECONDS)
    if view.job.spec.suspend:
        return replace(so_far, stage=Stage.SUSPENDED, attempts=history)
    start = find_next_start(history)
    if start is not None and view.now < start:
        pause = (start - view.now).total_seconds()
        return replace(so_far, stage=Stage.PAUSING, attempts=history, pause_seconds=pause)
    return replace(so_far, stage=Stage.ATTEMPT_DUE, attempts=history)


def _find_first_stage(view: JobView) -> Stage:
    if view.job.spec.suspend:
        return Stage.SUSPENDED
    return Stage.PLANNED if view.job.spec.plan_only else _wait_for_pods(view, Stage.ATTEMPT_DUE)


def _wait_for_pods(view: JobView, stage: Stage) -> Stage:
    """Never lets pods of two attempts run at a time, those of a deleted namesake included."""
    return Stage.ENDING if view.live_pods else stage


def _find_failure(attempts: Sequence[Attempt], max_attempts: int) -> Failure | None:
    last = attempts[-1]
    if last.outcome is not AttemptOutcome.FAILED:
        return None
    reason, message = last.reason or "", last.message or ""
    if last.retryable is False:
        return Failure(reason, message)
    failures = count_failures(attempts)
    if failures >= max_attempts:
        return Failure(
            ConditionReason.MAX_ATTEMPTS_REACHED,
            f"{failures} of {max_attempts} attempts failed, the last with {reason}: {message}",
        )
    return None


def _find_stage(pods: Sequence[Pod], replicas: int) -> Stage:
    if len(pods) < replicas or any(pod.node is None for pod in pods):
        return Stage.PLACING
    # A container that has ended is seen a moment before its pod is over.
    return Stage.RUNNING if all(pod.started_at is not None or pod.is_over for pod in pods) else Stage.STARTING
