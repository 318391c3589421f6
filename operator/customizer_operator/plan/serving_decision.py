"""What a ModelDeployment is made to serve: the newest spec once it is verified, else what is served already."""

from dataclasses import dataclass, replace
from functools import partial

from customizer_contract.result import ArtifactReference
from customizer_operator.api.base import Object
from customizer_operator.api.common import ObjectStorage
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentStatus, ModelStatus
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.images import Images
from customizer_operator.objects.nim_service import SCRATCH, build_nim_service
from customizer_operator.objects.serving import (
    build_servers,
    find_digest,
    find_replicas,
    find_stage_image,
    find_version,
)
from customizer_operator.objects.serving_canary import build_canary, hold_version
from customizer_operator.objects.serving_engine import CACHE, build_engine, find_generation
from customizer_operator.objects.serving_sidecar import build_sidecar_input
from customizer_operator.objects.verification import build_verification, verify_name
from customizer_operator.plan.plan import DEPLOYMENT, JOB, Observed, Reference
from customizer_operator.plan.serving_companions import find_leftovers
from customizer_operator.plan.serving_conditions import recall_refusal
from customizer_operator.plan.serving_evaluation import Version
from customizer_operator.plan.serving_nim import find_limit
from customizer_operator.plan.serving_obstacles import find_image, find_obstacle
from customizer_operator.plan.serving_target import Blocked, Target, find_followed_job, find_target, name_models
from customizer_operator.plan.serving_trial import Trial, plan_trial
from customizer_operator.plan.serving_verification import Refused, Unknown, Verified, find_verification


@dataclass(frozen=True, slots=True)
class Decision:
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
    version: Version | None = None
    """What servers are, or are made; None while something else is wanted."""
    trial: Trial | None = None
    """How the newest version is tried; None while it is not known."""


def decide(observed: Observed, deployment: ModelDeployment, images: Images) -> Decision:
    """Decides."""
    status = deployment.status or ModelDeploymentStatus()
    server = observed.named(DEPLOYMENT, deployment.metadata.name)
    target = find_obstacle(observed, deployment, images) or find_target(deployment, find_followed_job(observed))
    if isinstance(target, Blocked):
        if target.reason == ServingReason.JOB_NOT_FOUND and server is not None and status.artifact is not None:
            # The artifact outlives the job that made it: servers go on, and only a change of the spec would need it.
            return replace(_keep(status, Verified(status.artifact)), is_settled=True)
        return _keep(status, target)
    verification = find_verification(observed, status, target.serving)
    if isinstance(verification, Verified):
        served = _serve(observed, deployment, target, verification, images)
        return replace(served, delete=tuple(find_leftovers(observed))) if served.is_settled else served
    if isinstance(verification, Refused):
        return _keep(status, verification)
    found = recall_refusal(deployment) or verification
    if verification.outdated is not None:
        return replace(_keep(status, found), delete=(_reference(verification.outdated),))
    if observed.named(JOB, verify_name(deployment.metadata.name)) is not None:
        return _keep(status, found)
    check = build_verification(deployment, target.serving, target.access, images.io)
    return replace(_keep(status, found), create=(check,))


def _keep(status: ModelDeploymentStatus, found: Blocked | Verified | Refused | Unknown) -> Decision:
    """Leaves the servers as they are, though something else is wanted."""
    return Decision(
        found,
        models=tuple(status.models or ()),
        artifact=status.artifact,
        verified_digest=status.verified_digest,
        is_settled=False,
    )


def _serve(
    observed: Observed, deployment: ModelDeployment, target: Target, verified: Verified, images: Images
) -> Decision:
    artifact = verified.artifact
    weights = target.weights(artifact)
    runtime, status = deployment.spec.runtime, deployment.status or ModelDeploymentStatus()
    image = find_image(runtime, images) or ""
    if weights.base_name is not None and runtime.type != "VLLM" and find_generation(runtime, image) == "Engine":
        return _keep(
            status,
            Blocked(
                ServingReason.NOT_TAKEN_BY_IMAGE,
                f"{image} is a NIM of generation Engine, which serves full weights only, and {weights.name} is an "
                "adapter: merge it (output as merged weights), or choose another runtime.",
                stalled=True,
            ),
        )
    limit = find_limit(deployment, target, image)
    if limit is not None:
        return _keep(status, limit)
    if weights.base_name is not None and weights.address is not None:
        message = f"{weights.name} is an adapter, whose base must lie on the server's disk: set weights to Staged."
        return _keep(status, Blocked(ServingReason.NOT_TAKEN_BY_IMAGE, message, stalled=True))
    present = observed.named(DEPLOYMENT, deployment.metadata.name)
    serving = target.pin(artifact).model_copy(update={"sidecar": build_sidecar_input(deployment, image, weights)})
    if deployment.spec.backend == "NIMService":
        engine = build_engine(runtime, image, weights, cache=SCRATCH)
        build = partial(build_nim_service, deployment, serving, target.access, engine, image=image)
    else:
        engine = build_engine(runtime, image, weights, cache=CACHE)
        build = partial(build_servers, deployment, serving, target.access, engine, image=image, present=present)
    servers = build(io_image=images.io)
    if present is not None:
        # A newer image of ours stages the same weights: it is no reason to restart servers.
        unchanged = build(io_image=find_stage_image(present) or images.io)
        servers = unchanged if find_digest(unchanged[0]) == find_digest(present) else servers
    version = Version(find_version(servers[0]) or "", artifact, weights.name)
    storage = target.access.storage
    trial = plan_trial(observed, deployment, version, servers[0], present, storage)
    if trial.is_held:
        held = hold_version(servers[0], present) if present is not None else None
        canary = build_canary(servers[0]) if trial.has_canary else None
        kept = replace(_keep(status, verified), verified_digest=target.digest, storage=storage, trial=trial)
        return replace(kept, apply=tuple(item for item in (held, canary) if item is not None))
    return Decision(
        verified,
        apply=tuple(servers),
        models=tuple(name_models(weights, artifact)),
        storage=storage,
        artifact=artifact,
        verified_digest=target.digest,
        spec_digest=find_digest(servers[0]),
        is_settled=present is None or present["spec"].get("replicas", 1) == find_replicas(deployment, present),
        version=version,
        trial=trial,
    )


def _reference(job: Object) -> Reference:
    metadata = job["metadata"]
    return Reference(JOB, metadata["namespace"], metadata["name"], metadata["uid"])
