"""What a ModelDeployment is made to serve: the newest spec once it is verified, else what is served already."""

from dataclasses import dataclass, replace
from functools import partial

from customizer_contract.result import ArtifactReference, BaseVersion
from customizer_operator.api.base import Object
from customizer_operator.api.common import ObjectStorage
from customizer_operator.api.model_deployment import ModelDeployment, ModelDeploymentStatus, ModelStatus
from customizer_operator.api.model_source import SourceStatus
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.images import Images
from customizer_operator.objects.names import is_owned_by
from customizer_operator.objects.nim_service import SCRATCH, build_nim_service, hold_nim_service
from customizer_operator.objects.serving import (
    build_servers,
    find_digest,
    find_replicas,
    find_stage_image,
    find_version,
    hold_servers,
)
from customizer_operator.objects.serving_canary import build_canary
from customizer_operator.objects.serving_companions import build_surroundings
from customizer_operator.objects.serving_engine import CACHE, build_engine, find_generation
from customizer_operator.objects.serving_sidecar import build_sidecar_input
from customizer_operator.objects.verification import build_verification, verify_name
from customizer_operator.plan.plan import DEPLOYMENT, JOB, NIM_SERVICE, Observed, Reference, refer_to
from customizer_operator.plan.serving_companions import find_leftovers
from customizer_operator.plan.serving_conditions import recall_refusal
from customizer_operator.plan.serving_evaluation import Version
from customizer_operator.plan.serving_nim import find_limit
from customizer_operator.plan.serving_obstacles import find_image, find_obstacle
from customizer_operator.plan.serving_source import find_jobs
from customizer_operator.plan.serving_target import Target, find_target, name_models
from customizer_operator.plan.serving_trial import Trial, plan_trial
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.serving_verification import Refused, Unknown, Verified, find_verification


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, and what the status and the conditions follow from."""

    found: Trouble | Verified | Refused | Unknown
    create: tuple[Object, ...] = ()
    apply: tuple[Object, ...] = ()
    delete: tuple[Reference, ...] = ()
    models: tuple[ModelStatus, ...] = ()
    """Names that servers must list."""
    storage: ObjectStorage | None = None
    """The store that servers read, where that is known."""
    artifact: ArtifactReference | None = None
    source: SourceStatus | None = None
    """The job that made the artifact that is served."""
    verified_digest: str | None = None
    verified_base: BaseVersion | None = None
    spec_digest: str | None = None
    """Digest of the newest spec for the Deployment; None while it stays as it is."""
    is_settled: bool = True
    """Whether nothing newer than the present Deployment is wanted."""
    version: Version | None = None
    """What servers are, or are made; None while something else is wanted."""
    trial: Trial | None = None
    """How the newest version is tried; None while it is not known."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What is decided about."""

    observed: Observed
    deployment: ModelDeployment
    images: Images
    operator_namespace: str | None
    obstacle: Trouble | None
    """What stands against serving at all."""

    @property
    def status(self) -> ModelDeploymentStatus:
        """What was told last; empty at first."""
        return self.deployment.status or ModelDeploymentStatus()

    @property
    def present(self) -> Object | None:
        """The servers' Deployment."""
        return self.observed.named(DEPLOYMENT, self.deployment.metadata.name)


def decide(
    observed: Observed, deployment: ModelDeployment, images: Images, operator_namespace: str | None = None
) -> Decision:
    """Decides. `operator_namespace` is where the operator runs, if that is known."""
    case = _Case(observed, deployment, images, operator_namespace, find_obstacle(observed, deployment, images))
    if case.obstacle is not None:
        return _keep(case, case.obstacle)
    target = find_target(deployment, find_jobs(observed))
    if isinstance(target, Trouble):
        return _keep(case, target)
    verification = find_verification(observed, case.status, target.serving)
    if isinstance(verification, Verified):
        return _serve(case, target, verification)
    if isinstance(verification, Refused):
        return _keep(case, verification)
    kept = _keep(case, recall_refusal(deployment) or verification)
    if verification.outdated is not None:
        return replace(kept, delete=(*kept.delete, refer_to(JOB, verification.outdated)))
    if observed.named(JOB, verify_name(deployment.metadata.name)) is not None:
        return kept
    return replace(kept, create=(build_verification(deployment, target.serving, target.access, images.io),))


def _keep(case: _Case, found: Trouble | Verified | Refused | Unknown) -> Decision:
    """Lets the servers serve what they do, though something else is wanted.

    How many there are, and what stands around them, is as the spec says: who stops servers, or shuts somebody off,
    does not wait until an artifact is in order.
    """
    status = case.status
    held = _hold(case)
    # What stands against serving at all may be the name of one of these objects, or that its kind is unknown.
    has_room = held is not None and case.obstacle is None
    return Decision(
        found,
        apply=(*(held or ()), *(build_surroundings(case.deployment, case.operator_namespace) if has_room else ())),
        delete=tuple(find_leftovers(case.observed)) if has_room else (),
        models=tuple(status.models or ()),
        artifact=status.artifact,
        source=status.source,
        verified_digest=status.verified_digest,
        verified_base=status.verified_base,
        is_settled=False,
    )


def _hold(case: _Case) -> list[Object] | None:
    """Returns what must change of the servers that are there; None if there are none of ours."""
    metadata = case.deployment.metadata
    is_nim_service = case.deployment.spec.backend == "NIMService"
    present = case.observed.named(NIM_SERVICE, metadata.name) if is_nim_service else case.present
    if present is None or not is_owned_by(present, metadata.uid):
        return None
    hold = hold_nim_service if is_nim_service else hold_servers
    held = hold(case.deployment, present)
    return [] if held is None else [held]


def _serve(case: _Case, target: Target, verified: Verified) -> Decision:
    deployment, images, present = case.deployment, case.images, case.present
    artifact = verified.artifact
    weights = target.weights(artifact)
    runtime = deployment.spec.runtime
    image = find_image(runtime, images) or ""
    if weights.base_name is not None and runtime.type != "VLLM" and find_generation(runtime, image) == "Engine":
        message = (
            f"{image} is a NIM of generation Engine, which serves full weights only, and {weights.name} is an "
            "adapter: merge it (output as merged weights), or choose another runtime."
        )
        return _keep(case, Trouble(ServingReason.NOT_TAKEN_BY_IMAGE, message))
    limit = find_limit(deployment, target, image)
    if limit is not None:
        return _keep(case, limit)
    if weights.base_name is not None and weights.address is not None:
        message = f"{weights.name} is an adapter, whose base must lie on the server's disk: set weights to Staged."
        return _keep(case, Trouble(ServingReason.NOT_TAKEN_BY_IMAGE, message))
    serving = target.pin(artifact, verified.base).model_copy(
        update={"sidecar": build_sidecar_input(deployment, image, weights)}
    )
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
        servers = unchanged if find_digest(unchanged) == find_digest(present) else servers
    version = Version(find_version(servers) or "", artifact, weights.name, target.source)
    storage = target.access.storage
    trial = plan_trial(case.observed, deployment, version, servers, present, storage)
    if trial.is_held:
        kept = _keep(case, verified)
        canary = (build_canary(servers),) if trial.has_canary else ()
        return replace(kept, apply=(*kept.apply, *canary), verified_digest=target.digest, storage=storage, trial=trial)
    is_settled = present is None or present["spec"].get("replicas", 1) == find_replicas(deployment, present)
    return Decision(
        verified,
        apply=(servers, *build_surroundings(deployment, case.operator_namespace)),
        delete=tuple(find_leftovers(case.observed)) if is_settled else (),
        models=tuple(name_models(weights, artifact)),
        storage=storage,
        artifact=artifact,
        source=target.source,
        verified_digest=target.digest,
        verified_base=verified.base,
        spec_digest=find_digest(servers),
        is_settled=is_settled,
        version=version,
        trial=trial,
    )
