"""ModelDeployment: from what is observed to what is done and told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import ValidationError

from customizer_contract.result import ArtifactReference
from customizer_operator.api.base import Object
from customizer_operator.api.common import ObjectStorage
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentStatus, ModelStatus
from customizer_operator.api.model_runtime import Runtime
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingCondition, ServingReason
from customizer_operator.objects.images import Images
from customizer_operator.objects.names import is_owned_by
from customizer_operator.objects.serving import build_servers, build_url, find_digest, find_stage_image
from customizer_operator.objects.serving_engine import build_engine, find_contradiction, find_generation
from customizer_operator.objects.serving_pods import SERVER, VERIFY
from customizer_operator.objects.serving_sidecar import build_sidecar_input
from customizer_operator.objects.verification import build_verification, verify_name
from customizer_operator.plan.conditions import Finding, date_conditions, find_changes
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    DEPLOYMENT,
    JOB,
    SERVICE,
    Event,
    Exists,
    Observed,
    Plan,
    Question,
    Reference,
    Resource,
)
from customizer_operator.plan.serving_adapters import Adapters, ask_for_reports, plan_adapters
from customizer_operator.plan.serving_companions import (
    ask_about_resources,
    find_leftovers,
    find_missing,
    find_wanted,
)
from customizer_operator.plan.serving_conditions import Outlook, Report, recall_refusal, report
from customizer_operator.plan.serving_pods import Trouble, ask_about_pods, find_pods, find_refusal, find_trouble
from customizer_operator.plan.serving_replicas import Replicas, ask_for_models, count_replicas
from customizer_operator.plan.serving_target import Blocked, Target, choose_job, find_target, name_models
from customizer_operator.plan.serving_verification import Refused, Unknown, Verified, find_verification

_SOON_SECONDS = 3.0
"""Between looks at what is on its way: no watch tells that a pod is late, or that a server lists its models."""
_LATER_SECONDS = 30.0
"""Between looks at what stands, or at what somebody must mend."""
_IMAGE_VARIABLES = {"MultiLLM": "CUSTOMIZER_MULTI_LLM_IMAGE", "VLLM": "CUSTOMIZER_VLLM_IMAGE"}
_TOLD = (
    ServingCondition.ARTIFACT_VERIFIED,
    ServingCondition.ADAPTERS_READY,
    ServingCondition.READY,
    ServingCondition.STALLED,
)
"""Conditions whose changes are events."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """What is done, and what the status and the conditions follow from."""

    found: Blocked | Verified | Refused | Unknown
    create: tuple[Object, ...] = ()
    apply: tuple[Object, ...] = ()
    delete: tuple[Reference, ...] = ()
    models: tuple[ModelStatus, ...] = ()
    """Names that servers must list."""
    storage: ObjectStorage | None = None
    """The store that servers read, where that is known."""
    artifact: ArtifactReference | None = None
    verified_digest: str | None = None
    spec_digest: str | None = None
    """Digest of the newest spec for the Deployment; None while it stays as it is."""
    is_settled: bool = True
    """Whether nothing newer than the present Deployment is wanted."""


def find_job(subject: Object) -> str | None:
    """Returns the name of the CustomizationJob that a ModelDeployment names."""
    model = subject.get("spec", {}).get("model") or {}
    return (model.get("customizationJobRef") or {}).get("name")


def ask_about_deployment(observed: Observed) -> Sequence[Question]:
    """Says what the decision needs: what every server lists, and whether the names that it needs are free."""
    metadata = observed.subject["metadata"]
    names = [
        Exists(resource, metadata["namespace"], name)
        for resource, name in _names(observed.subject)
        if observed.named(resource, name) is None
    ]
    waiting = [*ask_about_pods(observed, SERVER), *ask_about_pods(observed, VERIFY)]
    resources = ask_about_resources(observed.subject)
    pods = find_pods(observed, SERVER)
    return [*ask_for_models(pods), *ask_for_reports(pods), *names, *resources, *waiting]


def plan_deployment(observed: Observed, images: Images) -> Plan:
    """Decides."""
    try:
        deployment = ModelDeployment.model_validate(observed.subject)
    except ValidationError as error:
        return _plan_unreadable(observed, error)
    decision = _decide(observed, deployment, images)
    server = observed.named(DEPLOYMENT, deployment.metadata.name)
    pods = find_pods(observed, SERVER)
    replicas = None
    if server is not None:
        names = [model.name for model in decision.models]
        replicas = count_replicas(observed, server, pods, names, decision.spec_digest, is_newest=decision.is_settled)
    trouble = find_refusal(observed) or _find_trouble(observed, decision, server, replicas)
    wanted = replicas.wanted if replicas else deployment.spec.replicas
    taken = [model.name for model in decision.models]
    adapters = plan_adapters(observed, deployment, pods, decision.storage, taken, wanted)
    told = report(Outlook(decision.found, replicas, trouble, adapters))
    status = _build_status(observed, deployment, decision, replicas, adapters, told)
    return Plan(
        create=decision.create,
        apply=decision.apply,
        annotate=adapters.annotate if adapters else (),
        delete=decision.delete,
        events=_find_events(deployment, status),
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        requeue_after=_next_look(told, replicas),
    )


def _decide(observed: Observed, deployment: ModelDeployment, images: Images) -> _Decision:
    status = deployment.status or ModelDeploymentStatus()
    jobs = [item for (resource, _), item in observed.referenced.items() if resource == CUSTOMIZATION_JOB]
    job = choose_job(find_job(observed.subject), jobs)
    server = observed.named(DEPLOYMENT, deployment.metadata.name)
    target = _find_obstacle(observed, deployment, images) or find_target(deployment, job)
    if isinstance(target, Blocked):
        if target.reason == ServingReason.JOB_NOT_FOUND and server is not None and status.artifact is not None:
            # The artifact outlives the job that made it: servers go on, and only a change of the spec would need it.
            return replace(_keep(status, Verified(status.artifact)), is_settled=True)
        return _keep(status, target)
    verification = find_verification(observed, status, target.serving)
    if isinstance(verification, Verified):
        served = _serve(deployment, target, verification, images, server)
        return replace(served, delete=tuple(find_leftovers(observed))) if served.apply else served
    if isinstance(verification, Refused):
        return _keep(status, verification)
    found = recall_refusal(deployment) or verification
    if verification.outdated is not None:
        return replace(_keep(status, found), delete=(_reference(verification.outdated),))
    if observed.named(JOB, verify_name(deployment.metadata.name)) is not None:
        return _keep(status, found)
    check = build_verification(deployment, target.serving, target.access, images.io)
    return replace(_keep(status, found), create=(check,))


def _keep(status: ModelDeploymentStatus, found: Blocked | Verified | Refused | Unknown) -> _Decision:
    """Leaves the servers as they are, though something else is wanted."""
    return _Decision(
        found,
        models=tuple(status.models or ()),
        artifact=status.artifact,
        verified_digest=status.verified_digest,
        is_settled=False,
    )


def _serve(
    deployment: ModelDeployment, target: Target, verified: Verified, images: Images, present: Object | None
) -> _Decision:
    artifact = verified.artifact
    weights = target.weights(artifact)
    runtime = deployment.spec.runtime
    image = _find_image(runtime, images) or ""
    if weights.base_name is not None and runtime.type != "VLLM" and find_generation(runtime, image) == "Engine":
        return _keep(
            deployment.status or ModelDeploymentStatus(),
            Blocked(
                ServingReason.NOT_TAKEN_BY_IMAGE,
                f"{image} is a NIM of generation Engine, which serves full weights only, and {weights.name} is an "
                "adapter: merge it (output as merged weights), or choose another runtime.",
                stalled=True,
            ),
        )
    serving = target.pin(artifact).model_copy(update={"sidecar": build_sidecar_input(deployment, image, weights)})
    engine = build_engine(runtime, image, weights)
    build = partial(build_servers, deployment, serving, target.access, engine, image=image, present=present)
    servers = build(io_image=images.io)
    if present is not None:
        # A newer image of ours stages the same weights: it is no reason to restart servers.
        unchanged = build(io_image=find_stage_image(present) or images.io)
        servers = unchanged if find_digest(unchanged[0]) == find_digest(present) else servers
    return _Decision(
        verified,
        apply=tuple(servers),
        models=tuple(name_models(weights, artifact)),
        storage=target.access.storage,
        artifact=artifact,
        verified_digest=target.digest,
        spec_digest=find_digest(servers[0]),
    )


def _find_obstacle(observed: Observed, deployment: ModelDeployment, images: Images) -> Blocked | None:
    """Finds what stands against serving at all, whatever the model."""
    metadata, runtime = deployment.metadata, deployment.spec.runtime
    for resource, name in _names(observed.subject):
        found = observed.answers.get(Exists(resource, metadata.namespace, name))
        if isinstance(found, dict) and not is_owned_by(found, metadata.uid):
            return Blocked(
                ConditionReason.NAME_TAKEN,
                f"There is a {resource.kind} {name} of somebody else: delete it, or choose another name.",
                stalled=True,
            )
    image = _find_image(runtime, images)
    if image is None:
        return Blocked(
            ServingReason.IMAGE_NOT_NAMED,
            f"The operator has no image for runtime {runtime.type}: name one in runtime.image, or set "
            f"{_IMAGE_VARIABLES[runtime.type]} on the operator.",
            stalled=True,
        )
    missing = find_missing(observed)
    if missing is not None:
        return Blocked(ServingReason.RESOURCE_UNKNOWN, missing, stalled=True)
    contradiction = find_contradiction(runtime, image)
    return None if contradiction is None else Blocked(ServingReason.NOT_TAKEN_BY_IMAGE, contradiction, stalled=True)


def _names(subject: Object) -> Sequence[tuple[Resource, str]]:
    """Lists the objects that a ModelDeployment needs a name for."""
    name = subject["metadata"]["name"]
    wanted = (DEPLOYMENT, SERVICE, *find_wanted(subject))
    return (*((resource, name) for resource in wanted), (JOB, verify_name(name)))


def _find_image(runtime: Runtime, images: Images) -> str | None:
    return runtime.image or (images.vllm if runtime.type == "VLLM" else images.multi_llm)


def _find_trouble(
    observed: Observed, decision: _Decision, server: Object | None, replicas: Replicas | None
) -> Trouble | None:
    if isinstance(decision.found, Unknown):
        return find_trouble(observed, VERIFY, None)
    if server is None:
        return None
    trouble = find_trouble(observed, SERVER, server)
    if trouble is None and replicas is not None and replicas.unlisted:
        names = ", ".join(replicas.unlisted)
        return Trouble(ServingReason.MODEL_NOT_LISTED, f"A server answers but does not list {names}.", stalled=False)
    return trouble


def _build_status(
    observed: Observed,
    deployment: ModelDeployment,
    decision: _Decision,
    replicas: Replicas | None,
    adapters: Adapters | None,
    told: Report,
) -> ModelDeploymentStatus:
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
        artifact=decision.artifact,
        replicas=replicas.existing if replicas else 0,
        ready_replicas=replicas.answering if replicas else 0,
        verified_digest=decision.verified_digest,
    )


def _find_events(deployment: ModelDeployment, status: ModelDeploymentStatus) -> tuple[Event, ...]:
    before = (deployment.status.conditions if deployment.status else None) or []
    events = []
    for change in find_changes(before, status.conditions or []):
        is_bad = (change.status == "True") == (change.type == ServingCondition.STALLED)
        worth_telling = change.status == "True" or (change.type == ServingCondition.ARTIFACT_VERIFIED and is_bad)
        if change.type in _TOLD and worth_telling and change.status != "Unknown":
            warns = change.type == ServingCondition.STALLED or change.status == "False"
            occasion = change.last_transition_time.isoformat()
            events.append(Event("Warning" if warns else "Normal", change.reason, change.message, occasion))
    return tuple(events)


def _next_look(told: Report, replicas: Replicas | None) -> float | None:
    if told.state == "Waiting" and replicas is None:
        return None
    settled = told.state in ("Ready", "Stopped") or (told.state == "Failed" and replicas is None)
    return _LATER_SECONDS if settled else _SOON_SECONDS


def _plan_unreadable(observed: Observed, error: ValidationError) -> Plan:
    """Tells that CRD and operator differ in version; what runs is left as it is."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = f"{where}: {first['msg']}. Correct it; if the apiserver took it, install CRDs of the operator's release."
    metadata = observed.subject["metadata"]
    generation = metadata.get("generation", 1)
    findings = (
        Finding(ServingCondition.READY, "False", ServingReason.INVALID_SPEC, message),
        Finding(ServingCondition.RECONCILING, "False", ServingReason.INVALID_SPEC, message),
        Finding(ServingCondition.STALLED, "True", ServingReason.INVALID_SPEC, message),
    )
    status = ModelDeploymentStatus(
        observed_generation=generation,
        conditions=date_conditions((), findings, generation=generation, now=observed.now),
        state="Failed",
        message=message,
    )
    before = observed.subject.get("status") or {}
    if before.get("message") == message and before.get("observedGeneration") == generation:
        return Plan()
    return Plan(status={**before, **status.model_dump(mode="json", by_alias=True, exclude_none=True)})


def _reference(job: Object) -> Reference:
    metadata = job["metadata"]
    return Reference(JOB, metadata["namespace"], metadata["name"], metadata["uid"])
