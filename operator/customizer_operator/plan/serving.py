"""ModelDeployment: from what is observed to what is done and told."""

from collections.abc import Sequence

from pydantic import ValidationError

from customizer_operator.api.base import Condition, Object
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentStatus
from customizer_operator.api.serving_reasons import ServingCondition, ServingReason
from customizer_operator.objects.images import Images
from customizer_operator.objects.serving import build_url
from customizer_operator.objects.serving_pods import CANARY, SERVER, VERIFY
from customizer_operator.plan.conditions import Finding, date_conditions, find_changes, keep_others
from customizer_operator.plan.plan import (
    DEPLOYMENT,
    Event,
    Exists,
    Observed,
    Plan,
    Question,
)
from customizer_operator.plan.serving_adapters import Adapters, Fleet, plan_adapters
from customizer_operator.plan.serving_companions import (
    ask_about_resources,
)
from customizer_operator.plan.serving_conditions import Outlook, Report, report
from customizer_operator.plan.serving_decision import Decision, decide
from customizer_operator.plan.serving_evaluation import Evaluated, plan_evaluation
from customizer_operator.plan.serving_nim import find_failure, reword
from customizer_operator.plan.serving_obstacles import list_names
from customizer_operator.plan.serving_pods import ask_about_pods, find_pods, find_refusal, find_trouble
from customizer_operator.plan.serving_replicas import Replicas, ask_for_models, count_replicas
from customizer_operator.plan.serving_reports import ask_for_reports
from customizer_operator.plan.serving_trial import Trial, find_leftover
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.serving_verification import Unknown

_SOON_SECONDS = 3.0
"""Between looks at what is on its way: no watch tells that a pod is late, or that a server lists its models."""
_LATER_SECONDS = 30.0
"""Between looks at what stands, or at what somebody must mend."""
_TOLD = (
    ServingCondition.ARTIFACT_VERIFIED,
    ServingCondition.ADAPTERS_READY,
    ServingCondition.EVALUATED,
    ServingCondition.PROMOTED,
    ServingCondition.READY,
    ServingCondition.STALLED,
)
"""Conditions whose changes are events."""


def ask_about_deployment(observed: Observed) -> Sequence[Question]:
    """Says what the decision needs: what every server lists, and whether the names that it needs are free."""
    metadata = observed.subject["metadata"]
    names = [
        Exists(resource, metadata["namespace"], name)
        for resource, name in list_names(observed)
        if observed.named(resource, name) is None
    ]
    waiting = [question for component in (SERVER, CANARY, VERIFY) for question in ask_about_pods(observed, component)]
    resources = ask_about_resources(observed.subject)
    pods, canaries = find_pods(observed, SERVER), find_pods(observed, CANARY)
    return [*ask_for_models(pods), *ask_for_reports([*pods, *canaries]), *names, *resources, *waiting]


def plan_deployment(observed: Observed, images: Images, operator_namespace: str | None = None) -> Plan:
    """Decides. `operator_namespace` is where the operator runs, if that is known."""
    try:
        deployment = ModelDeployment.model_validate(observed.subject)
    except ValidationError as error:
        return _plan_unreadable(observed, error)
    decision = decide(observed, deployment, images, operator_namespace)
    server = observed.named(DEPLOYMENT, deployment.metadata.name)
    pods = find_pods(observed, SERVER)
    replicas = None
    if server is not None:
        names = [model.name for model in decision.models]
        replicas = count_replicas(observed, server, pods, names, decision.spec_digest, is_newest=decision.is_settled)
    trial = decision.trial or Trial()
    trouble = find_refusal(observed) or trial.trouble or _find_trouble(observed, decision, server, replicas)
    wanted = replicas.wanted if replicas else deployment.spec.replicas
    is_current = replicas is not None and replicas.all_answer and replicas.wanted > 0
    evaluated = plan_evaluation(observed, deployment, decision.version if is_current else None, pods)
    asked = trial.asked or (evaluated.asked if evaluated else {})
    fleet = Fleet(pods, [model.name for model in decision.models], decision.storage, wanted, asked)
    adapters = plan_adapters(observed, deployment, fleet)
    told = report(Outlook(decision.found, replicas, trouble, adapters, evaluated, decision.trial))
    status = _build_status(observed, deployment, decision, replicas, adapters, evaluated, told)
    return Plan(
        create=decision.create,
        apply=decision.apply,
        annotate=(*(adapters.annotate if adapters else ()), *trial.annotate),
        delete=(*decision.delete, *find_leftover(observed, decision.trial)),
        events=_find_events(deployment, status),
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        requeue_after=_next_look(told, replicas, evaluated),
    )


def _find_trouble(
    observed: Observed, decision: Decision, server: Object | None, replicas: Replicas | None
) -> Trouble | None:
    if isinstance(decision.found, Unknown):
        return find_trouble(observed, VERIFY, None)
    if (failure := find_failure(observed)) is not None:
        return failure
    if server is None:
        return None
    trouble = reword(observed, find_trouble(observed, SERVER, server))
    if trouble is None and replicas is not None and replicas.unlisted:
        names = ", ".join(replicas.unlisted)
        return Trouble(ServingReason.MODEL_NOT_LISTED, f"A server answers but does not list {names}.", stalled=False)
    return trouble


def _build_status(
    observed: Observed,
    deployment: ModelDeployment,
    decision: Decision,
    replicas: Replicas | None,
    adapters: Adapters | None,
    evaluated: Evaluated | None,
    told: Report,
) -> ModelDeploymentStatus:
    kept = deployment.status.rollout if deployment.status else None
    before = (deployment.status.conditions if deployment.status else None) or []
    return ModelDeploymentStatus(
        observed_generation=deployment.metadata.generation,
        conditions=date_conditions(before, told.findings, generation=deployment.metadata.generation, now=observed.now),
        state=told.state,
        message=told.message,
        url=build_url(deployment) if decision.models else None,
        models=list(decision.models) or None,
        adapters=list(adapters.statuses) or None if adapters else None,
        probe=adapters.probe if adapters else None,
        evaluation=evaluated.status if evaluated else None,
        rollout=decision.trial.status if decision.trial else kept,
        artifact=decision.artifact,
        source=decision.source,
        replicas=replicas.existing if replicas else 0,
        ready_replicas=replicas.answering if replicas else 0,
        verified_digest=decision.verified_digest,
        verified_base=decision.verified_base,
    )


def _find_events(deployment: ModelDeployment, status: ModelDeploymentStatus) -> tuple[Event, ...]:
    before = (deployment.status.conditions if deployment.status else None) or []
    events = []
    for change in find_changes(before, status.conditions or []):
        is_bad = (change.status == "True") == (change.type == ServingCondition.STALLED)
        worth_telling = change.status == "True" or (change.type == ServingCondition.ARTIFACT_VERIFIED and is_bad)
        worth_telling = worth_telling and change.reason != ServingReason.AS_EXPECTED
        if change.type in _TOLD and worth_telling and change.status != "Unknown":
            warns = change.type == ServingCondition.STALLED or change.status == "False"
            occasion = change.last_transition_time.isoformat()
            events.append(Event("Warning" if warns else "Normal", change.reason, change.message, occasion))
    return tuple(events)


def _next_look(told: Report, replicas: Replicas | None, evaluated: Evaluated | None) -> float | None:
    if told.state == "Waiting" and replicas is None:
        return None
    if evaluated is not None and evaluated.asked:
        return _SOON_SECONDS
    settled = told.state in ("Ready", "Stopped") or (told.state == "Failed" and replicas is None)
    return _LATER_SECONDS if settled else _SOON_SECONDS


def _plan_unreadable(observed: Observed, error: ValidationError) -> Plan:
    """Tells that CRD and operator differ in version; what runs is left as it is, and what was told of it stands."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{where}: {first['msg']}. Correct it; if the apiserver took it, install CRDs of the operator's release."
    metadata = observed.subject["metadata"]
    generation = metadata.get("generation", 1)
    before = observed.subject.get("status") or {}
    conditions = [Condition.model_validate(entry) for entry in before.get("conditions", ())]
    serves = any(entry.type == ServingCondition.AVAILABLE and entry.status == "True" for entry in conditions)
    if serves:
        message += " What was served before is served on."
    if before.get("message") == message and before.get("observedGeneration") == generation:
        return Plan()
    findings = [
        Finding(ServingCondition.READY, "False", ServingReason.INVALID_SPEC, message),
        Finding(ServingCondition.RECONCILING, "False", ServingReason.INVALID_SPEC, message),
        Finding(ServingCondition.STALLED, "True", ServingReason.INVALID_SPEC, message),
    ]
    status = ModelDeploymentStatus(
        observed_generation=generation,
        conditions=date_conditions(
            conditions, keep_others(conditions, findings), generation=generation, now=observed.now
        ),
        state="Degraded" if serves else "Failed",
        message=message,
    )
    return Plan(status={**before, **status.model_dump(mode="json", by_alias=True, exclude_none=True)})
