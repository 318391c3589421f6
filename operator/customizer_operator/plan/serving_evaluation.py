"""Which held-out questions a version is asked, by which server's sidecar, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_contract.result import ArtifactReference
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_evaluation import Evaluation, EvaluationStatus
from customizer_operator.api.model_source import SourceStatus
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.serving_sidecar import can_evaluate
from customizer_operator.plan.plan import Observed
from customizer_operator.plan.pods import Pod
from customizer_operator.plan.serving_reports import read_report
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.serving_verdict import describe

_NO_LOSS = (
    "The loss of an adapter cannot be told: engines apply adapters to what they write, not always to what they repeat. "
    "Choose evaluation.metric ExactMatch or Contains, or serve a merged model."
)


@dataclass(frozen=True, slots=True)
class Version:
    """Pods of one kind, and what requests to them name."""

    digest: str
    """Of the pods; of servers that are there, what their Deployment says."""
    artifact: ArtifactReference | None
    name: str
    """The tuned model, or the only one."""
    source: SourceStatus | None = None
    """The job that made it, if one is followed."""

    @property
    def title(self) -> str:
        """What people are told it is."""
        return describe(self.artifact.manifest_digest if self.artifact else None)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How far the evaluation of the served version is."""

    status: EvaluationStatus | None
    asked: Mapping[str, EvaluationInput] = field(default_factory=dict)
    """What is asked now, by the uid of the pod that is."""
    trouble: Trouble | None = None
    """Why there is no score yet."""
    is_due: bool = False
    """Whether there will be another score."""


def plan_evaluation(
    observed: Observed, deployment: ModelDeployment, version: Version | None, pods: Sequence[Pod]
) -> Evaluated | None:
    """Decides about the served version; None without spec.evaluation.

    `version` is None while servers are replaced, or stay as they are though something else is wanted.
    """
    if deployment.spec.evaluation is None:
        return None
    status = deployment.status
    known = [status.evaluation if status else None, status.rollout.evaluation if status and status.rollout else None]
    if version is None:
        return Evaluated(known[0], is_due=known[0] is None)
    question = find_question(deployment, version)
    if isinstance(question, Trouble):
        return Evaluated(known[0], trouble=question)
    if (found := find_score(observed, question, version, pods, known)) is not None:
        return Evaluated(found)
    return Evaluated(
        known[0], choose_pod(pods, question), find_obstacle_to_score(observed, question, pods), is_due=True
    )


def find_question(deployment: ModelDeployment, version: Version) -> EvaluationInput | Trouble:
    """Says what a version is asked."""
    evaluation = deployment.spec.evaluation or Evaluation()
    if evaluation.metric == "Loss" and version.artifact is not None and version.artifact.type == "adapter":
        return Trouble(ServingReason.NO_LOSS_OF_ADAPTERS, _NO_LOSS)
    if evaluation.dataset is not None:
        return _build(evaluation, version, evaluation.dataset.s3.uri, evaluation.prompt_template)
    source = version.source
    if source is None:
        message = "No job is followed whose validation set could be asked: name a held-out set in evaluation.dataset."
        return Trouble(ServingReason.JOB_NOT_FOUND, message)
    return _build(evaluation, version, source.held_out_uri, evaluation.prompt_template or source.prompt_template)


def _build(evaluation: Evaluation, version: Version, uri: str, template: str | None) -> EvaluationInput:
    return EvaluationInput(
        occasion=version.digest,
        model=version.name,
        uri=uri,
        prompt_template=template,
        metric=evaluation.metric,
        max_samples=evaluation.max_samples,
        max_tokens=evaluation.max_tokens,
        timeout_seconds=evaluation.timeout_seconds,
    )


def find_score(
    observed: Observed,
    question: EvaluationInput,
    version: Version,
    pods: Sequence[Pod],
    known: Sequence[EvaluationStatus | None],
) -> EvaluationStatus | None:
    """Returns the score of a question: one that is known, or what a sidecar tells."""
    for score in known:
        if score is not None and score.question == question.digest:
            return score
    report = _find_report(observed, question, pods)
    if report is None or report.score is None:
        return None
    return EvaluationStatus(
        score=report.score,
        loss=report.loss,
        metric=question.metric,
        samples=report.samples,
        refused=report.refused or None,
        manifest_digest=version.artifact.manifest_digest if version.artifact else None,
        dataset_digest=report.dataset_digest,
        evaluated_at=observed.now,
        message=report.message,
        question=question.digest,
    )


def find_obstacle_to_score(observed: Observed, question: EvaluationInput, pods: Sequence[Pod]) -> Trouble | None:
    """Returns what a sidecar tells that stands against a score; it tries again by itself."""
    report = _find_report(observed, question, pods)
    if report is None or report.reason is None:
        return None
    message = f"No score can be told of spec.evaluation. {report.message or ''}"
    return Trouble(report.reason, message, stalled=not CATALOGUE[report.reason].retryable)


def choose_pod(pods: Sequence[Pod], question: EvaluationInput) -> dict[str, EvaluationInput]:
    """Chooses the pod that is asked: the oldest, so that it stays the same one when others come."""
    able = [pod for pod in pods if can_evaluate(pod.raw) and not pod.is_over]
    chosen = min(able, key=lambda pod: (pod.created_at, pod.name), default=None)
    return {} if chosen is None else {chosen.uid: question}


def _find_report(observed: Observed, question: EvaluationInput, pods: Sequence[Pod]) -> EvaluationReport | None:
    reports = [report.evaluation for pod in pods if (report := read_report(observed, pod)) is not None]
    return next((report for report in reports if report is not None and report.question == question.digest), None)
