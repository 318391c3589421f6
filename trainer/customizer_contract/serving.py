"""The serving file: what the pods of a ModelDeployment are told to verify and to stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from customizer_contract.base import Model
from customizer_contract.job import ModelInput
from customizer_contract.result import BaseVersion
from customizer_contract.sources import S3_URI_PATTERN, ObjectStorage

API_KEY = "VLLM_API_KEY"
"""Variable with the key that the engine asks of requests; the sidecar shows it, too. Its value is a Secret's."""


class ArtifactInput(Model):
    """A published artifact to serve."""

    uri: str = Field(pattern=S3_URI_PATTERN)
    manifest_digest: str | None = None
    """Expected sha256 of manifest.json; whatever the manifest is now when not given."""


class LoraServer(Model):
    """What a server takes of adapters, and how it is given them."""

    loading: Literal["Call", "Folder"]
    """Call: vLLM's load_lora_adapter. Folder: the server looks into NIM_PEFT_SOURCE again and again."""
    max_rank: int
    target_modules: list[str] | None = None
    """Layers that it can adapt. None: every linear layer of the model."""
    base_in_image: bool = False
    """Whether the server brings the base model itself, so that adapters cannot be compared with it."""


class SidecarInput(Model):
    """The server that a sidecar stands beside."""

    port: int
    """Port of the server."""
    staged: str | None = None
    """Name of the adapter that it was started with; it stays."""
    lora: LoraServer | None = None
    """None: no adapters come or go while the server runs."""
    evaluates: Literal[True] | None = None
    """Whether the sidecar is asked to put held-out questions; one of an earlier release would not understand."""


class Serving(Model):
    """One ModelDeployment, as `verify`, `stage` and `sidecar` read it."""

    version: Literal["v1alpha1"] = "v1alpha1"
    name: str
    namespace: str
    artifact: ArtifactInput | None = None
    """A full model, or an adapter whose base model is staged beside it. None: `model` is served as it is."""
    model: ModelInput | None = None
    """A base model: the only thing served, or where that of an adapter is, if not at the manifest's address."""
    base: BaseVersion | None = None
    """The state in which the base model was verified; `stage` takes no other. None: it is still to be verified."""
    served_model_name: str | None = None
    """Name under which the tuned model is served. Default: that of the artifact, or of the deployment."""
    base_in_image: bool = False
    """Whether the server brings the base model of an adapter by itself; then it is neither looked for nor staged."""
    cached: bool = False
    """Whether full weights are staged into `paths.MODEL_CACHE`, which other servers share."""
    direct: bool = False
    """Whether the server reads full weights from S3 itself: `stage` compares them there and brings nothing."""
    storage: ObjectStorage = ObjectStorage()
    sidecar: SidecarInput | None = None
    """None: the server stands alone."""

    @model_validator(mode="after")
    def _serves_something(self) -> Self:
        if self.artifact is None and self.model is None:
            raise ValueError("one of artifact and model must be given")
        return self

    def name_as_served(self, artifact_name: str | None) -> str:
        """Names the tuned model, or the only one, for requests; an adapter's folder is called so too."""
        return self.served_model_name or artifact_name or self.name
