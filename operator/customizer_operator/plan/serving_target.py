"""What a ModelDeployment serves: found in its spec, or in what the CustomizationJob that it names has published."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from customizer_contract.job import ModelInput
from customizer_contract.result import ArtifactReference
from customizer_contract.serving import ArtifactInput, Serving
from customizer_contract.sources import S3Source
from customizer_operator.api.base import Object
from customizer_operator.api.common import ModelSource, ObjectStorage
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_deployment import FollowedJob, ModelDeployment, ModelStatus
from customizer_operator.api.reasons import ConditionType
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.job_file import translate_source, translate_storage
from customizer_operator.objects.serving_engine import Weights, find_generation
from customizer_operator.objects.serving_pods import MODEL_VOLUME, Access, file_digest
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Observed


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be verified, staged and served, and how it is reached."""

    serving: Serving
    access: Access
    trust_remote_code: bool

    @property
    def digest(self) -> str:
        """sha256 of the serving file that is verified."""
        return file_digest(self.serving)

    def pin(self, artifact: ArtifactReference | None) -> Serving:
        """Returns the serving file for servers: it names the very manifest that was verified."""
        if artifact is None:
            return self.serving
        pinned = ArtifactInput(uri=artifact.uri, manifest_digest=artifact.manifest_digest)
        return self.serving.model_copy(update={"artifact": pinned})

    def weights(self, artifact: ArtifactReference | None) -> Weights:
        """Returns what will lie in the model store, once the artifact is known (None for a base model)."""
        name = self.serving.name_as_served(artifact.name if artifact else None)
        adapter = artifact.adapter if artifact else None
        return Weights(
            name=name,
            base_name=f"{name}-base" if adapter else None,
            rank=adapter.rank if adapter else None,
            trust_remote_code=self.trust_remote_code,
            # Full weights have no base: they take the place of the image's own.
            base_in_image=self.serving.base_in_image and adapter is not None,
            address=self._find_address(artifact),
        )

    def _find_address(self, artifact: ArtifactReference | None) -> str | None:
        if not self.serving.direct:
            return None
        if artifact is not None:
            return artifact.uri.rstrip("/")
        source = self.serving.model.source if self.serving.model else None
        return source.uri.rstrip("/") if isinstance(source, S3Source) else None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why nothing can be served yet."""

    reason: str
    message: str
    stalled: bool
    """Whether somebody must do something."""


def is_meant(pattern: str, name: str) -> bool:
    """Tells whether a reference means an object of that name: one that ends in * means all that begin so."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def find_job(subject: Object) -> str | None:
    """Returns the name of the CustomizationJob that a ModelDeployment names."""
    model = subject.get("spec", {}).get("model") or {}
    return (model.get("customizationJobRef") or {}).get("name")


def find_followed_job(observed: Observed) -> Object | None:
    """Returns the CustomizationJob that a ModelDeployment names; of several, as `choose_job` does."""
    jobs = [item for (resource, _), item in observed.referenced.items() if resource == CUSTOMIZATION_JOB]
    return choose_job(find_job(observed.subject), jobs)


def choose_job(pattern: str | None, jobs: Iterable[Object]) -> Object | None:
    """Returns the newest of the jobs that are meant and have published, or else the newest; None without any."""

    def rank(job: Object) -> tuple[bool, str, str]:
        metadata = job["metadata"]
        has_published = bool((job.get("status") or {}).get("artifact"))
        return has_published, metadata.get("creationTimestamp") or "", metadata["name"]

    meant = [job for job in jobs if pattern is not None and is_meant(pattern, job["metadata"]["name"])]
    return max(meant, key=rank, default=None)


def find_target(deployment: ModelDeployment, job: Object | None) -> Target | Blocked:
    """Finds what is to be served. `job` is the CustomizationJob that the spec names, if it does and there is one."""
    model = deployment.spec.model
    if model.customization_job_ref is not None:
        return _from_job(deployment, model.customization_job_ref, job)
    storage = deployment.spec.object_storage or ObjectStorage()
    device = deployment.spec.runtime.device or "gpu"
    if model.artifact is None:
        return _build(deployment, None, model, storage, device, trust=model.trust_remote_code)
    artifact = ArtifactInput(uri=model.artifact.uri, manifest_digest=model.artifact.manifest_digest)
    base = model.artifact.base_model
    trust = model.trust_remote_code or (base is not None and base.trust_remote_code)
    return _build(deployment, artifact, base, storage, device, trust=trust)


def name_models(weights: Weights, artifact: ArtifactReference | None) -> list[ModelStatus]:
    """Names the models of a server, the tuned one first."""
    if artifact is None:
        return [ModelStatus(name=weights.name, kind="base")]
    endpoint: Literal["/v1/completions", "/v1/chat/completions"] = (
        "/v1/chat/completions" if artifact.prompt_format == "chat" else "/v1/completions"
    )
    tuned = ModelStatus(name=weights.name, kind=artifact.type, endpoint=endpoint)
    if weights.base_name is None:
        return [tuned]
    return [tuned, ModelStatus(name=weights.base_name, kind="base", endpoint=endpoint)]


def _from_job(deployment: ModelDeployment, reference: FollowedJob, found: Object | None) -> Target | Blocked:
    name = reference.name
    if found is None:
        return Blocked(
            ServingReason.JOB_NOT_FOUND,
            f"There is no CustomizationJob {name} in this namespace: create it, or correct spec.model.",
            stalled=True,
        )
    name = found["metadata"]["name"]
    try:
        job = CustomizationJob.model_validate(found)
    except ValidationError as error:
        return Blocked(
            ServingReason.INVALID_SPEC,
            f"CustomizationJob {name} is not one that this operator understands ({error.errors()[0]['msg']}): "
            "install operator and CRDs of the same release.",
            stalled=True,
        )
    status = job.status
    published = status.artifact if status else None
    if published is None:
        if status and any(c.type == ConditionType.FAILED and c.status == "True" for c in status.conditions or ()):
            return Blocked(
                ServingReason.JOB_FAILED,
                f"CustomizationJob {name} has failed: {status.message or 'it does not say why.'} "
                "Create it anew, corrected, under the same name; or name another.",
                stalled=True,
            )
        state = f", which is {status.state}" if status and status.state else ""
        return Blocked(ServingReason.JOB_NOT_COMPLETE, f"Waits for CustomizationJob {name}{state}.", stalled=False)
    return _build(
        deployment,
        _pin(deployment, reference, published),
        job.spec.model if published.type == "adapter" else None,
        deployment.spec.object_storage or job.spec.object_storage,
        deployment.spec.runtime.device or job.spec.compute.device,
        trust=job.spec.model.trust_remote_code,
    )


def _pin(deployment: ModelDeployment, reference: FollowedJob, published: ArtifactReference) -> ArtifactInput:
    """Chooses between what is published now and what is served."""
    served = deployment.status.artifact if deployment.status else None
    digest = published.manifest_digest
    uri = published.uri
    if reference.promotion == "Manual":
        digest = reference.manifest_digest or (served.manifest_digest if served else digest)
        if served is not None and served.manifest_digest == digest:
            uri = served.uri
    return ArtifactInput(uri=uri, manifest_digest=digest)


def _build(
    deployment: ModelDeployment,
    artifact: ArtifactInput | None,
    model: ModelSource | None,
    storage: ObjectStorage,
    device: Literal["gpu", "cpu"],
    *,
    trust: bool,
) -> Target:
    runtime = deployment.spec.runtime
    # A 1.x NIM that is made for one model has it; any other server is given the base of an adapter.
    base_in_image = (
        artifact is not None
        and runtime.type == "ModelSpecificNIM"
        and find_generation(runtime, runtime.image or "") == "V1"
    )
    if base_in_image:
        model = None
    return Target(
        serving=Serving(
            name=deployment.metadata.name,
            namespace=deployment.metadata.namespace,
            artifact=artifact,
            model=ModelInput(source=translate_source(model, MODEL_VOLUME), trust_remote_code=trust) if model else None,
            served_model_name=runtime.served_model_name,
            base_in_image=base_in_image,
            cached=deployment.spec.cache is not None,
            direct=deployment.spec.weights == "Direct",
            storage=translate_storage(storage),
        ),
        access=Access(storage, model, device),
        trust_remote_code=trust,
    )
