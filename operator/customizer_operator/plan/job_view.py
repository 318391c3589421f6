"""A CustomizationJob and all that belongs to it, parsed: what its decisions look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from customizer_operator.api.base import ATTEMPT_LABEL, Object
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.customization_job_status import Attempt, CustomizationJobStatus
from customizer_operator.objects.job_file import build_job_file
from customizer_operator.objects.names import attempt_name, config_map_name, is_owned_by, preflight_name
from customizer_operator.objects.preflight import CONTAINER as PREFLIGHT_CONTAINER
from customizer_operator.objects.training import CONTAINER as TRAINING_CONTAINER
from customizer_operator.plan.attempts import TrainingJob
from customizer_operator.plan.last_lines import quote_log
from customizer_operator.plan.placement import find_mesh
from customizer_operator.plan.plan import CONFIG_MAP, JOB, POD, PYTORCH_JOB, Exists, HttpGet, LogOf, Observed, Served
from customizer_operator.plan.pods import Pod, parse_pod
from customizer_operator.plan.progress import ask_for_progress
from customizer_operator.plan.salvage import salvage

_CONFIG_MAP_MAX_AGE = 10.0
"""Seconds for which a ConfigMap that was found is taken to be there; pods that wait for one wait longer."""


class InvalidSpecError(Exception):
    """The apiserver let the object through but it cannot be understood; the message names the field."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The preflight Job as decisions see it."""

    name: str
    uid: str
    created_at: datetime
    complete: bool
    failed: bool
    message: str
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class JobView:
    """What a decision about a CustomizationJob looks at."""

    observed: Observed
    job: CustomizationJob
    status: CustomizationJobStatus
    """What was told last; empty at first."""
    preflight: Preflight | None
    training_jobs: tuple[TrainingJob, ...]
    """By number."""
    pods: tuple[Pod, ...]
    """All training pods that carry the job's label, a predecessor's included, by attempt and rank."""

    @property
    def now(self) -> datetime:
        """Returns the time of the observation."""
        return self.observed.now

    @property
    def replicas(self) -> int:
        """Returns the pods of an attempt."""
        outline = self.job.spec.outline
        return 1 if outline is None else outline.nodes

    @property
    def live_pods(self) -> list[Pod]:
        """Returns the training pods that run or may yet run."""
        known_gone = {question for question, answer in self.observed.answers.items() if answer is None}
        live = [pod for pod in self.pods if pod.is_live(self.now)]
        return [pod for pod in live if self.pod_question(pod) not in known_gone]

    def pod_question(self, pod: Pod) -> Exists:
        """Asks for a pod that should be gone: the watch may have missed that it went."""
        return Exists(POD, self.job.metadata.namespace, pod.name)

    def find_training_job(self, number: int) -> TrainingJob | None:
        """Returns an attempt's PyTorchJob."""
        return next((job for job in self.training_jobs if job.number == number), None)

    def find_pods(self, number: int) -> list[Pod]:
        """Returns the pods of an attempt, those of a namesake's attempt left out."""
        job = self.find_training_job(number)
        return [pod for pod in self.pods if pod.attempt == number and (job is None or pod.owner_uid == job.uid)]

    def progress_question(self, number: int) -> HttpGet | None:
        """Asks rank 0 of an attempt how far it is, if it runs."""
        return next((ask_for_progress(pod) for pod in self.find_pods(number) if pod.rank == 0), None)

    def log_question(self, pod: str, container: str) -> LogOf:
        """Asks what a container said last."""
        return LogOf(self.job.metadata.namespace, pod, container)

    def find_log(self, pod: str, container: str) -> str | None:
        """Returns what a container said last, if that is known and is more than nothing."""
        answer = self.observed.answers.get(self.log_question(pod, container))
        return quote_log(answer) if isinstance(answer, str) else None

    @property
    def config_map_question(self) -> Exists:
        """Asks for the ConfigMap; ConfigMaps are not watched."""
        name = config_map_name(self.job.metadata.name)
        return Exists(CONFIG_MAP, self.job.metadata.namespace, name, max_age_seconds=_CONFIG_MAP_MAX_AGE)

    @property
    def preflight_question(self) -> Exists:
        """Asks for the preflight Job, whoever made it."""
        return Exists(JOB, self.job.metadata.namespace, preflight_name(self.job.metadata.name))

    def training_job_question(self, number: int) -> Exists:
        """Asks for an attempt's PyTorchJob, whoever made it."""
        return Exists(PYTORCH_JOB, self.job.metadata.namespace, attempt_name(self.job.metadata.name, number))

    @property
    def training_operator_question(self) -> Served:
        """Asks whether the cluster knows PyTorchJobs."""
        return Served(PYTORCH_JOB)


def _find_training_jobs(observed: Observed) -> list[Object]:
    """Returns the job's PyTorchJobs: what the cache has, corrected by what was asked for, which is never older."""
    subject = observed.subject["metadata"]
    found = {item["metadata"]["name"]: item for item in observed.of(PYTORCH_JOB)}
    for question, answer in observed.answers.items():
        if not isinstance(question, Exists) or question.resource != PYTORCH_JOB:
            continue
        if isinstance(answer, dict):
            found[question.name] = answer
        else:
            found.pop(question.name, None)
    numbered = [item for item in found.values() if ATTEMPT_LABEL in (item["metadata"].get("labels") or {})]
    return [item for item in numbered if is_owned_by(item, subject["uid"])]


def parse_view(observed: Observed) -> JobView:
    """Parses what was observed. Raises InvalidSpecError for a spec of another version than the operator's."""
    subject = observed.subject
    uid = subject["metadata"]["uid"]
    try:
        job = CustomizationJob.model_validate({"metadata": subject["metadata"], "spec": subject["spec"]})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidSpecError(f"{field}: {first['msg']}") from error
    try:
        build_job_file(job)
        if job.spec.outline is not None:
            find_mesh(job.spec.outline)
    except ValueError as error:
        raise InvalidSpecError(str(error)) from error
    pods = observed.of(POD)
    training = [pod for pod in (parse_pod(item, TRAINING_CONTAINER) for item in pods) if pod.attempt is not None]
    preflight = [item for item in observed.of(JOB) if is_owned_by(item, uid)]
    return JobView(
        observed=observed,
        job=job,
        status=parse_status(subject),
        preflight=_parse_preflight(preflight[0], pods) if preflight else None,
        training_jobs=tuple(
            sorted(
                (_parse_training_job(item) for item in _find_training_jobs(observed)),
                key=lambda item: item.number,
            )
        ),
        pods=tuple(sorted(training, key=lambda pod: (pod.attempt or 0, pod.rank, pod.created_at))),
    )


def parse_status(subject: Object) -> CustomizationJobStatus:
    """Reads what was told last, perhaps by a newer operator: what makes no sense here is left out, field by field."""
    return salvage(CustomizationJobStatus, subject.get("status") or {})


def merge_attempts(recorded: Sequence[Attempt], jobs: Sequence[TrainingJob]) -> list[Attempt]:
    """Returns every attempt that was recorded or whose PyTorchJob is there, oldest first."""
    attempts = {attempt.number: attempt for attempt in recorded}
    for job in jobs:
        attempts.setdefault(job.number, Attempt(number=job.number, started_at=job.created_at))
    return [attempts[number] for number in sorted(attempts)]


def _parse_preflight(item: Object, pods: Sequence[Object]) -> Preflight:
    uid = item["metadata"]["uid"]
    conditions = _true_conditions(item)
    own = [parse_pod(pod, PREFLIGHT_CONTAINER) for pod in pods]
    return Preflight(
        name=item["metadata"]["name"],
        uid=uid,
        created_at=datetime.fromisoformat(item["metadata"]["creationTimestamp"]),
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        message=conditions.get("Failed", ""),
        pods=tuple(sorted((pod for pod in own if pod.owner_uid == uid), key=lambda pod: pod.created_at)),
    )


def _parse_training_job(item: Object) -> TrainingJob:
    metadata = item["metadata"]
    conditions = _true_conditions(item)
    return TrainingJob(
        name=metadata["name"],
        uid=metadata["uid"],
        number=int(metadata["labels"][ATTEMPT_LABEL]),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        reacted=bool(item.get("status", {}).get("conditions")),
        succeeded="Succeeded" in conditions,
        failed="Failed" in conditions,
        message=conditions.get("Failed", ""),
    )


def _true_conditions(item: Object) -> dict[str, str]:
    """Returns the conditions that hold, with their messages."""
    conditions = item.get("status", {}).get("conditions") or ()
    return {entry["type"]: entry.get("message", "") for entry in conditions if entry["status"] == "True"}
