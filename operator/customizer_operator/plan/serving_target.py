"""What a ModelDeployment serves: found in its spec, or in what the CustomizationJob that it names has published."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from customizer_contract.job import ModelInput
from customizer_contract.result import ArtifactReference, BaseVersion
from customizer_contract.serving import ArtifactInput, Serving
from customizer_contract.sources import S3Source
from customizer_operator.api.base import Object
from customizer_operator.api.common import ModelSource, ObjectStorage
from customizer_operator.api.model_deployment import ModelDeployment, ModelStatus
from customizer_operator.api.model_source import SourceStatus
from customizer_operator.objects.job_file import translate_source, translate_storage
from customizer_operator.objects.serving_engine import Weights, find_generation
from customizer_operator.objects.serving_pods import MODEL_VOLUME, Access, file_digest
from customizer_operator.plan.serving_source import Published, find_published
from customizer_operator.plan.serving_trouble import Trouble


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be verified, staged and served, and how it is reached."""

    serving: Serving
    access: Access
    trust_remote_code: bool
    source: SourceStatus | None = None
    """The job that made it, if one is followed."""

    @property
    def digest(self) -> str:
        """sha256 of the serving file that is verified."""
        return file_digest(self.serving)

    def pin(self, artifact: ArtifactReference | None, base: BaseVersion | None) -> Serving:
        """Returns the serving file for servers: it names the very manifest, and the state of the base, verified."""
        serving = self.serving.model_copy(update={"base": base})
        if artifact is None:
            return serving
        pinned = ArtifactInput(uri=artifact.uri, manifest_digest=artifact.manifest_digest)
        return serving.model_copy(update={"artifact": pinned})

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


def find_target(deployment: ModelDeployment, jobs: Sequence[Object]) -> Target | Trouble:
    """Finds what is to be served. `jobs` are the CustomizationJobs that the spec means, if it means any."""
    model = deployment.spec.model
    if model.customization_job_ref is not None:
        published = find_published(deployment, model.customization_job_ref, jobs)
        return published if isinstance(published, Trouble) else _from_job(deployment, published)
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


def _from_job(deployment: ModelDeployment, published: Published) -> Target:
    source, spec = published.source, deployment.spec
    target = _build(
        deployment,
        ArtifactInput(uri=published.artifact.uri, manifest_digest=published.artifact.manifest_digest),
        source.model if published.artifact.type == "adapter" else None,
        spec.object_storage or source.object_storage,
        spec.runtime.device or source.device,
        trust=source.model.trust_remote_code,
    )
    return replace(target, source=source)


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
