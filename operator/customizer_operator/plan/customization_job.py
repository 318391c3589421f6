"""The plan for a CustomizationJob: what was decided, as objects to make and a status to write."""

from collections.abc import Sequence
from dataclasses import dataclass

from customizer_operator.api.base import Object
from customizer_operator.api.customization_job_status import CustomizationJobStatus
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.objects.avoidance import avoid_nodes
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import build_config_map
from customizer_operator.objects.names import is_owned_by
from customizer_operator.objects.preflight import build_preflight
from customizer_operator.objects.training import build_training
from customizer_operator.plan.attempts import find_bad_nodes
from customizer_operator.plan.finished import ask_about_leftovers, finish
from customizer_operator.plan.gang import ask_gang, explain_gang, find_gang
from customizer_operator.plan.granted import ask_for_nodes
from customizer_operator.plan.job_deployment import ask_about_deployment, deploy, tell
from customizer_operator.plan.job_events import find_events
from customizer_operator.plan.job_status import confirm, describe
from customizer_operator.plan.job_view import InvalidSpecError, JobView, parse_status, parse_view
from customizer_operator.plan.lifecycle import Decision, Stage, decide, is_over
from customizer_operator.plan.misunderstood import describe_misunderstood
from customizer_operator.plan.plan import (
    JOB,
    PYTORCH_JOB,
    EventsOf,
    Exists,
    HttpGet,
    Observed,
    Plan,
    Question,
    Reference,
)
from customizer_operator.plan.pods import Pod
from customizer_operator.plan.progress import PULL_SECONDS
from customizer_operator.plan.queueing import ask_queue, explain_queue
from customizer_operator.plan.waiting import REACT_WITHIN, Waiting, explain, explain_refusal, is_late

_RETRY_SECONDS = 10.0
"""Until the next look at something that nobody will tell us about: a name that is taken, a missing CRD, a slow pod."""

_QUEUE_SECONDS = 30.0
"""Until the queue is asked again; that it admits an attempt is seen at once, by its PyTorchJob."""

_CONFIG_MAP_STAGES = (Stage.PREFLIGHT_DUE, Stage.ATTEMPT_DUE, Stage.PREFLIGHT, Stage.PLACING, Stage.STARTING)
"""Stages in which pods may wait for the ConfigMap."""


def ask_about_job(observed: Observed) -> Sequence[Question]:
    """Returns what a decision needs beyond the caches: as little as the job's stage allows."""
    try:
        view = parse_view(observed)
    except InvalidSpecError:
        return ()
    if is_over(view.status) is not None:
        return (*ask_about_leftovers(view), *ask_about_deployment(view))
    decision = decide(view)
    if first := [question for question in decision.questions if question not in observed.answers]:
        return first
    match decision.stage:
        case Stage.PREFLIGHT_DUE:
            return (view.config_map_question, view.preflight_question)
        case Stage.ATTEMPT_DUE:
            return (
                view.training_operator_question,
                view.config_map_question,
                view.training_job_question(decision.due_attempt),
            )
        case Stage.PREFLIGHT | Stage.PLACING | Stage.STARTING:
            return (
                *_ask_about_pods(view, decision),
                *_ask_about_training_job(view, decision),
                *ask_for_nodes(view, decision.attempts),
                *(_ask_about_placing(view, decision.attempts[-1].number) if decision.stage is Stage.PLACING else ()),
                view.config_map_question,
            )
        case Stage.ENDING:
            pods = [view.pod_question(pod) for pod in view.live_pods if _should_be_gone(view, decision)]
            return (*pods, *_ask_about_training_job(view, decision))
        case Stage.RUNNING:
            question = _progress_question(view, decision)
            return (*(() if question is None else (question,)), *ask_for_nodes(view, decision.attempts))
        case _:
            return ()


def plan_job(observed: Observed, images: Images) -> Plan:
    """Plans. The same observation gives the same plan."""
    subject = observed.subject
    generation = subject["metadata"]["generation"]
    try:
        view = parse_view(observed)
    except InvalidSpecError as error:
        previous = parse_status(subject)
        if is_over(previous) is not None:
            return Plan(status=confirm(subject["status"], generation))
        told = describe_misunderstood(observed, previous, str(error))
        return Plan(status=_dump(told), events=find_events(previous, told, ()))
    if is_over(view.status) is not None:
        remainder = finish(view)
        deployed = deploy(view)
        pauses = [pause for pause in (remainder.again_after, deployed.again_after) if pause is not None]
        return Plan(
            create=deployed.create,
            delete=remainder.delete,
            status=tell(deployed, confirm(subject["status"], generation)),
            requeue_after=min(pauses, default=None),
        )
    return _Planner(view, images).plan()


@dataclass(frozen=True, slots=True)
class _Planner:
    """Turns a decision into a plan."""

    view: JobView
    images: Images

    def plan(self) -> Plan:
        decision = decide(self.view)
        create, waiting = self._make(decision)
        waiting = explain_refusal(self.view.observed.refusal) or waiting or self._explain(decision)
        question = _progress_question(self.view, decision)
        answer = None if question is None else self._answer(question)
        status = describe(self.view, decision, waiting, answer)
        return Plan(
            create=create,
            delete=self._find_deletions(decision),
            events=find_events(self.view.status, status, decision.ended_now),
            status=_dump(status),
            requeue_after=self._find_pause(decision, waiting),
        )

    def _make(self, decision: Decision) -> tuple[tuple[Object, ...], Waiting | None]:
        """Returns the objects that are due, or why they cannot be made."""
        view = self.view
        if decision.stage not in _CONFIG_MAP_STAGES:
            return (), None
        config_map = self._find(view.config_map_question)
        if config_map is not None and not self._is_ours(config_map):
            return (), _name_taken(view.config_map_question)
        missing: tuple[Object, ...] = () if config_map is not None else (build_config_map(view.job),)
        match decision.stage:
            case Stage.PREFLIGHT_DUE:
                wanted, question = build_preflight(view.job, self.images), view.preflight_question
            case Stage.ATTEMPT_DUE:
                number = decision.due_attempt
                training = build_training(view.job, self.images, number)
                wanted = avoid_nodes(training, find_bad_nodes(decision.attempts))
                question = view.training_job_question(number)
                if not self._answer(view.training_operator_question):
                    return missing, _no_training_operator()
            case Stage.PLACING:
                return (*missing, *find_gang(view, decision.attempts[-1].number)), None
            case _:
                return missing, None
        present = self._find(question)
        if present is not None:
            # One of ours that the cache has not heard of yet is as good as made.
            return missing, None if self._is_ours(present) else _name_taken(question)
        return (*missing, wanted), None

    def _explain(self, decision: Decision) -> Waiting | None:
        view = self.view
        if decision.stage is Stage.PREFLIGHT and view.preflight is not None:
            pods = [pod for pod in view.preflight.pods if not pod.is_over][-1:]
            over = [pod for pod in view.preflight.pods if pod.is_over]
            return self._explain_pods(
                pods, 0 if over and not pods else 1, f"Job {view.preflight.name}", view.preflight.uid
            )
        if decision.stage not in (Stage.PLACING, Stage.STARTING):
            return None
        number = decision.attempts[-1].number
        job = view.find_training_job(number)
        if job is None:
            return None
        if not job.reacted and view.now - job.created_at > REACT_WITHIN:
            return _no_reaction(job.name)
        if (held := explain_queue(view, number) or explain_gang(view, number)) is not None:
            return held
        return self._explain_pods(view.find_pods(number), view.replicas, f"PyTorchJob {job.name}", job.uid)

    def _explain_pods(self, pods: Sequence[Pod], expected: int, owner: str, uid: str) -> Waiting | None:
        namespace = self.view.job.metadata.namespace
        return explain(
            pods,
            expected=expected,
            owner=owner,
            owner_events=self._find_events_of(EventsOf(namespace, uid)),
            pod_events={pod.uid: self._find_events_of(EventsOf(namespace, pod.uid)) for pod in pods},
        )

    def _find_deletions(self, decision: Decision) -> tuple[Reference, ...]:
        namespace = self.view.job.metadata.namespace
        lost = decision.retry_preflight
        return (
            *(Reference(PYTORCH_JOB, namespace, job.name, job.uid) for job in decision.stop),
            *(() if lost is None else (Reference(JOB, namespace, lost.name, lost.uid),)),
        )

    def _find_pause(self, decision: Decision, waiting: Waiting | None) -> float | None:
        if decision.pause_seconds is not None:
            return decision.pause_seconds
        if decision.stage is Stage.RUNNING:
            return PULL_SECONDS
        if waiting is not None and waiting.reason is ConditionReason.QUEUED:
            return _QUEUE_SECONDS
        expectant = decision.stage in (Stage.PREFLIGHT, Stage.PLACING, Stage.STARTING)
        return _RETRY_SECONDS if waiting is not None or expectant else None

    def _answer(self, question: Question) -> object:
        return self.view.observed.answers.get(question)

    def _find(self, question: Exists) -> Object | None:
        answer = self._answer(question)
        return answer if isinstance(answer, dict) else None

    def _find_events_of(self, question: EventsOf) -> Sequence[Object]:
        answer = self._answer(question)
        return answer if isinstance(answer, list) else ()

    def _is_ours(self, item: Object) -> bool:
        return is_owned_by(item, self.view.job.metadata.uid)


def _ask_about_placing(view: JobView, attempt: int) -> list[Question]:
    return [*ask_queue(view, attempt), *ask_gang(view, attempt)]


def _ask_about_pods(view: JobView, decision: Decision) -> list[Question]:
    """Asks for the events of pods that are late, and of the owner when pods are missing."""
    namespace = view.job.metadata.namespace
    if decision.stage is Stage.PREFLIGHT:
        owner, expected, pods = view.preflight, 1, list(view.preflight.pods if view.preflight else ())
        uid, created = (owner.uid, owner.created_at) if owner is not None else (None, None)
    else:
        number = decision.attempts[-1].number
        job = view.find_training_job(number)
        uid, created = (job.uid, job.created_at) if job is not None else (None, None)
        expected, pods = view.replicas, view.find_pods(number)
    questions: list[Question] = [
        EventsOf(namespace, pod.uid)
        for pod in pods
        if not pod.is_over and not pod.runs and is_late(pod.created_at, view.now)
    ]
    if uid is not None and created is not None and len(pods) < expected:
        questions.append(EventsOf(namespace, uid))
    return questions


def _ask_about_training_job(view: JobView, decision: Decision) -> list[Question]:
    """Asks for a PyTorchJob that should have changed by now: the watch may have missed that it did."""
    attempt = decision.attempts[-1] if decision.attempts else None
    job = view.find_training_job(attempt.number) if attempt is not None else None
    if attempt is None or job is None:
        return []
    ended = decision.stage is Stage.ENDING and not job.is_finished
    ignored = not job.reacted and is_late(job.created_at, view.now)
    return [view.training_job_question(attempt.number)] if ended or ignored else []


def _should_be_gone(view: JobView, decision: Decision) -> bool:
    ended = decision.attempts[-1].ended_at if decision.attempts else None
    return ended is None or is_late(ended, view.now)


def _progress_question(view: JobView, decision: Decision) -> HttpGet | None:
    if decision.stage is not Stage.RUNNING:
        return None
    return view.progress_question(decision.attempts[-1].number)


def _name_taken(question: Exists) -> Waiting:
    return Waiting(
        ConditionReason.NAME_TAKEN,
        f"{question.resource.kind} {question.name} exists and is not this job's: delete it, or name the job otherwise."
        " If it is left from a deleted job of the same name, it goes by itself.",
        needs_help=True,
    )


def _no_training_operator() -> Waiting:
    return Waiting(
        ConditionReason.TRAINING_OPERATOR_MISSING,
        "The cluster does not know PyTorchJobs: install Kubeflow's training-operator (v1.9); the job goes on then.",
        needs_help=True,
    )


def _no_reaction(name: str) -> Waiting:
    return Waiting(
        ConditionReason.TRAINING_OPERATOR_MISSING,
        f"Nobody takes notice of PyTorchJob {name}: check that Kubeflow's training-operator runs and may see this"
        " namespace.",
        needs_help=True,
    )


def _dump(status: CustomizationJobStatus) -> Object:
    """Returns the status as JSON, with times as the API writes them."""
    return dict(status.model_dump(mode="json", by_alias=True, exclude_none=True))
