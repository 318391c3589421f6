"""The trial of a version by a canary: what stands, who is asked what, and whether the version takes over.

All of it follows from what is there and from the record in the status. The record is written before anything is done
about it, so that a crash in between loses nothing: a version takes over, or its canary goes, once that is on record.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from customizer_contract.evaluation import EvaluationInput
from customizer_operator.api.base import Object
from customizer_operator.api.common import ObjectStorage
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentStatus
from customizer_operator.api.model_evaluation import EvaluationStatus, Rollout, RolloutStatus
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.names import is_owned_by
from customizer_operator.objects.serving import find_replicas, find_version
from customizer_operator.objects.serving_canary import canary_name, find_pod_version
from customizer_operator.objects.serving_pods import CANARY, SERVER, find_file
from customizer_operator.objects.serving_sidecar import can_evaluate
from customizer_operator.plan.plan import DEPLOYMENT, Annotation, Observed, Reference, refer_to
from customizer_operator.plan.serving_adapters import Fleet, plan_adapters
from customizer_operator.plan.serving_evaluation import (
    Version,
    choose_pod,
    find_obstacle_to_score,
    find_question,
    find_score,
)
from customizer_operator.plan.serving_pods import find_pods, find_trouble, is_ready
from customizer_operator.plan.serving_replicas import is_steady
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.serving_verdict import Verdict, judge

_CANNOT_ASK = (
    "Nobody can ask the served version, because its servers were started without spec.evaluation: set "
    "rollout.compareWith to None, or serve its model once more before the other one."
)
_DATA_CHANGED = (
    "The data of spec.evaluation have changed between the canary's answers and those of the served version: leave them "
    "as they are during a roll-out. Any change of spec.evaluation asks both anew."
)


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether the newest version waits, and how its canary gets on."""

    is_held: bool = False
    """Whether servers stay as they are: the version is tried, or was not good enough."""
    has_canary: bool = False
    """Whether there shall be one."""
    status: RolloutStatus | None = None
    """There always is one while the version is held."""
    annotate: tuple[Annotation, ...] = ()
    """What the canary is told."""
    asked: Mapping[str, EvaluationInput] = field(default_factory=dict)
    """What a server of the served version is asked, by the uid of its pod."""
    trouble: Trouble | None = None
    """What keeps the canary back."""
    is_gated: bool = True
    """Whether versions are tried at all."""

    @property
    def refused(self) -> Trouble | None:
        """The verdict that somebody has to do something about."""
        if self.status is None or self.status.outcome != "RolledBack":
            return None
        return Trouble(self.status.reason, self.status.message)


def plan_trial(
    observed: Observed,
    deployment: ModelDeployment,
    version: Version,
    servers: Object,
    present: Object | None,
    storage: ObjectStorage,
) -> Trial:
    """Decides whether a version is served, tried, or passed over.

    `servers` is the Deployment that would serve it, `present` the one that is there.
    """
    rollout = deployment.spec.rollout
    if rollout is None or rollout.strategy != "Canary" or deployment.spec.evaluation is None:
        return Trial(is_gated=False)
    candidate = _name_candidate(deployment, version)
    before = deployment.status.rollout if deployment.status else None
    before = before if before is not None and before.candidate == candidate else None
    is_served = present is not None and find_version(present) == version.digest
    if is_served or (before is not None and before.outcome == "Promoted"):
        return Trial(status=before)
    if before is not None and before.outcome == "RolledBack":
        return Trial(is_held=True, status=before)
    if present is None and before is None and rollout.minimum_score is None:
        return Trial()
    record = before or RolloutStatus(
        candidate=candidate,
        outcome="Trying",
        artifact=version.artifact,
        reason=ServingReason.CANARY_STARTING,
        message=f"A canary of {version.title} is started; it gets no requests.",
    )
    if find_replicas(deployment, present) == 0:
        # Nobody waits for it, and it would hold a GPU.
        message = "The newest version is tried once servers are wanted."
        update = {"reason": ServingReason.STOPPED, "message": message}
        return Trial(is_held=True, status=record.model_copy(update=update))
    return _try(_Attempt(observed, deployment, rollout, version, servers, present, record), storage)


def find_leftover(observed: Observed, trial: Trial | None) -> list[Reference]:
    """Returns the canary where there shall be none."""
    metadata = observed.subject["metadata"]
    canary = observed.named(DEPLOYMENT, canary_name(metadata["name"]))
    if canary is None or (trial is not None and trial.has_canary) or not is_owned_by(canary, metadata["uid"]):
        return []
    return [refer_to(DEPLOYMENT, canary)]


@dataclass(frozen=True, slots=True)
class _Attempt:
    observed: Observed
    deployment: ModelDeployment
    rollout: Rollout
    version: Version
    servers: Object
    present: Object | None
    record: RolloutStatus


def _try(attempt: _Attempt, storage: ObjectStorage) -> Trial:
    observed, deployment, record = attempt.observed, attempt.deployment, attempt.record
    question = find_question(deployment, attempt.version)
    if isinstance(question, Trouble):
        return Trial(is_held=True, status=record, trouble=question)
    # Those of a candidate before may still be on their way out.
    pods = [pod for pod in find_pods(observed, CANARY) if find_pod_version(pod.raw) == attempt.version.digest]
    score = find_score(observed, question, attempt.version, pods, [record.evaluation])
    asked = {} if score is not None else {pod.uid: question for pod in pods}
    told = plan_adapters(observed, deployment, Fleet(pods, [attempt.version.name], storage, 1, asked))
    failed = told.failed if told else None
    trial = Trial(is_held=True, has_canary=True, status=record, annotate=told.annotate if told else ())
    if failed is not None and told is not None and told.probe is not None and told.probe.answer is not None:
        # It answers without sampling, so it would answer the same again.
        verdict = Verdict("RolledBack", ServingReason.CANARY_PROBE_FAILED, f"{failed.message} The canary was removed.")
        return _conclude(trial, verdict)
    if score is not None:
        return _compare(_note(trial, evaluation=score), attempt, question, score)
    canary = observed.named(DEPLOYMENT, canary_name(deployment.metadata.name))
    trouble = find_obstacle_to_score(observed, question, pods) or failed
    if trouble is None and canary is not None:
        trouble = find_trouble(observed, CANARY, canary)
    if any(is_ready(pod) for pod in pods):
        message = f"A canary of {attempt.version.title} is asked held-out samples; it gets no requests."
        trial = _note(trial, reason=ServingReason.EVALUATING, message=message)
    return replace(trial, trouble=trouble)


def _compare(trial: Trial, attempt: _Attempt, question: EvaluationInput, score: EvaluationStatus) -> Trial:
    """Goes on where the canary has its score: the served version is asked only if that one is good enough."""
    present, rollout = attempt.present, attempt.rollout
    if present is None or _cannot_differ(present, attempt.servers):
        rollout = rollout.model_copy(update={"compare_with": "None"})
    if (verdict := judge(rollout, score, None)) is not None:
        return _conclude(trial, verdict)
    if present is not None and not can_evaluate(present["spec"]["template"]):
        return replace(trial, trouble=Trouble(ServingReason.PREVIOUS_NOT_ASKED, _CANNOT_ASK))
    status = attempt.deployment.status or ModelDeploymentStatus()
    served = Version(
        digest=f"{find_version(present) if present else None} before {attempt.version.digest}",
        artifact=status.artifact,
        name=status.models[0].name if status.models else attempt.deployment.metadata.name,
    )
    asked = question.model_copy(update={"occasion": served.digest, "model": served.name})
    # While servers are replaced, it is not known of what version a pod is.
    pods = find_pods(attempt.observed, SERVER) if present is not None and is_steady(present) else []
    previous = find_score(attempt.observed, asked, served, pods, [attempt.record.previous])
    if previous is None:
        message = (
            f"The canary of {attempt.version.title} scores {score.score:.4g}; the served version is asked the same. "
            "If that one cannot answer, set rollout.compareWith to None."
        )
        trial = _note(trial, reason=ServingReason.EVALUATING, message=message)
        trouble = find_obstacle_to_score(attempt.observed, asked, pods)
        return replace(trial, asked=choose_pod(pods, asked), trouble=trouble)
    trial = _note(trial, previous=previous)
    if previous.dataset_digest != score.dataset_digest:
        return replace(trial, trouble=Trouble(ServingReason.DATASET_CHANGED, _DATA_CHANGED))
    verdict = judge(rollout, score, previous)
    return trial if verdict is None else _conclude(trial, verdict)


def _cannot_differ(present: Object, servers: Object) -> bool:
    """Tells whether nobody can ask the servers that are there, and the others would serve the very same weights."""
    return not can_evaluate(present["spec"]["template"]) and _find_weights(present) == _find_weights(servers)


def _find_weights(servers: Object) -> tuple[object, object]:
    serving = json.loads(find_file(servers) or "{}")
    return serving.get("artifact"), serving.get("model")


def _name_candidate(deployment: ModelDeployment, version: Version) -> str:
    spec = deployment.spec
    parts = [part.to_json() for part in (spec.evaluation, spec.rollout, spec.probe) if part is not None]
    return hashlib.sha256("\n".join([version.digest, *parts]).encode()).hexdigest()


def _note(trial: Trial, **update: object) -> Trial:
    return replace(trial, status=trial.status.model_copy(update=update) if trial.status else None)


def _conclude(trial: Trial, verdict: Verdict) -> Trial:
    return _note(trial, outcome=verdict.outcome, reason=verdict.reason, message=verdict.message)
