"""ModelDeployment: a published artifact, or a base model, that answers on an OpenAI-compatible endpoint."""

from typing import ClassVar, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.result import ArtifactReference, BaseVersion
from customizer_operator.api.base import Column, Conditions, Names, Resource
from customizer_operator.api.common import (
    GpuResource,
    ModelSource,
    Name,
    ObjectStorage,
    Placement,
    Quantity,
    Resources,
)
from customizer_operator.api.model_access import HttpRoute, Ingress, NetworkPolicy, Service, ServiceMonitor
from customizer_operator.api.model_adapters import Adapter, AdapterStatus, PublishedArtifact
from customizer_operator.api.model_backend import BACKEND_RULES, FIXED_BACKEND, Backend
from customizer_operator.api.model_evaluation import (
    EVALUATION_RULES,
    Evaluation,
    EvaluationStatus,
    Rollout,
    RolloutStatus,
)
from customizer_operator.api.model_probe import Probe, ProbeStatus
from customizer_operator.api.model_runtime import Runtime
from customizer_operator.api.model_scaling import Autoscaling, TopologySpread, UpdateStrategy
from customizer_operator.api.model_source import SourceStatus
from customizer_operator.api.model_weights import DIRECT_SOURCES, WEIGHT_RULES, Weights

State = Literal["Waiting", "Verifying", "Starting", "Ready", "Updating", "Stopped", "Degraded", "Failed"]

_MEMBERS = "[has(self.customizationJobRef), has(self.artifact), has(self.huggingFace), has(self.s3), " + (
    "has(self.persistentVolumeClaim)].filter(x, x).size() == 1"
)


class FollowedJob(Model):
    """A CustomizationJob of the same namespace."""

    name: str = Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$|^[a-z][a-z0-9-]*\*$", max_length=53)
    """Name of the job. The deployment waits for it, and serves what it publishes. A name that ends in * means the
    newest job whose name begins so and that has published."""
    promotion: Literal["OnSuccess", "Manual"] = "OnSuccess"
    """OnSuccess: what is published later takes over once it is verified. Manual: what was published first stays until
    manifestDigest names another."""
    manifest_digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of the manifest.json to serve with promotion Manual. Default: the first that was published."""

    cel_rules = (
        CelRule(
            "!has(self.manifestDigest) || self.promotion == 'Manual'",
            "manifestDigest goes with promotion: Manual",
        ),
    )


class Artifact(PublishedArtifact):
    """A published artifact, and where the base model of an adapter is."""

    base_model: ModelSource | None = None
    """Where the base model of an adapter is. Default: where it was when the adapter was trained."""


class ServedModel(ModelSource):
    """What is served: exactly one of customizationJobRef, artifact, huggingFace, s3 and persistentVolumeClaim."""

    customization_job_ref: FollowedJob | None = None
    """What a CustomizationJob publishes."""
    artifact: Artifact | None = None
    """What some job has published."""

    cel_rules = (
        CelRule(
            _MEMBERS,
            "name exactly one of customizationJobRef, artifact, huggingFace, s3 and persistentVolumeClaim",
        ),
    )


class WeightCache(Model):
    """A volume on which servers share full weights: each model is downloaded once, and verified by every server."""

    claim_name: Name
    """Name of a PersistentVolumeClaim that all of the servers can mount (ReadWriteMany for several nodes)."""


class ServingSettings(Placement):
    """By what it is served, and where."""

    runtime: Runtime
    """The server."""
    backend: Backend = "Deployment"
    """Who runs the servers: a Deployment, or NVIDIA's NIM operator from a NIMService. The latter replaces servers as
    that operator does, a quarter at a time and without surge, and not under the restricted pod security standard."""
    probe: Probe | None = None
    """A question that every server must answer before requests are sent to it."""
    evaluation: Evaluation | None = None
    """Held-out questions that one server of each version is asked, once."""
    rollout: Rollout | None = None
    """How another version takes over. Default: servers are replaced one by one."""
    object_storage: ObjectStorage | None = None
    """How S3 is reached. Default: as the job in customizationJobRef does."""
    replicas: int = Field(1, ge=0, le=1000)
    """Servers that share the load; 0 stops them. Without effect where autoscaling is given."""
    suspend: bool = False
    """Stops the servers until it is false again. What is to be served is verified and followed all the same."""
    autoscaling: Autoscaling | None = None
    """Lets the load say how many servers there are."""
    update_strategy: UpdateStrategy = UpdateStrategy()
    """How servers are replaced. Default: a new one answers before an old one goes."""
    drain_seconds: int | None = Field(None, ge=1, le=3600)
    """How long a server that is to go still answers the requests that it has, while new ones go to others. Those that
    take longer are cut; the server keeps its GPUs until then. Default: 30."""
    topology_spread: list[TopologySpread] | None = Field(None, max_length=8)
    """How the servers are spread over nodes and zones."""
    resources: Resources | None = None
    """CPU and memory of a server. GPUs are added by the operator."""
    weights: Weights = "Staged"
    """Staged: brought to the server's disk and compared with the manifest there. Direct: a NIM of generation V2 reads
    full weights from S3 itself; they are compared with the manifest in S3 before each server starts, and whoever may
    write to the bucket could change them just after that."""
    cache: WeightCache | None = None
    """Where the weights are kept. Default: each server downloads them to its node's disk."""
    gpu_resource: GpuResource = "nvidia.com/gpu"
    """The resource of which a server takes runtime.tensorParallelSize, on device gpu."""
    shared_memory: Quantity | None = None
    """Limit of /dev/shm. Default: half of the node's memory, counted as the pod's."""
    service: Service = Service()
    """The Service in front of the replicas."""
    ingress: Ingress | None = None
    """An Ingress to the Service."""
    http_route: HttpRoute | None = None
    """An HTTPRoute to the Service."""
    service_monitor: ServiceMonitor | None = None
    """Lets the Prometheus operator gather the engine's metrics."""
    network_policy: NetworkPolicy | None = None
    """Shuts the servers off from everybody who is not named. Default: the namespace's own policies alone."""

    cel_rules: ClassVar[tuple[CelRule, ...]] = (*EVALUATION_RULES, *BACKEND_RULES, *WEIGHT_RULES)


class ModelDeploymentSpec(ServingSettings):
    """What is served, by what, and where."""

    model: ServedModel
    """What is served."""
    adapters: list[Adapter] | None = Field(
        None,
        max_length=128,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """LoRA adapters of the served model. They come and go without a restart; runtime.lora makes room for them."""

    cel_rules = (
        *ServingSettings.cel_rules,
        CelRule(
            "!has(self.evaluation) || has(self.evaluation.dataset) || has(self.model.customizationJobRef)",
            "name what is asked in evaluation.dataset: only a customizationJobRef leads to a validation set",
        ),
        FIXED_BACKEND,
        DIRECT_SOURCES,
        CelRule(
            "self.backend != 'NIMService' || (!has(self.model.persistentVolumeClaim) && (!has(self.model.artifact) || "
            "!has(self.model.artifact.baseModel) || !has(self.model.artifact.baseModel.persistentVolumeClaim)))",
            "the pods of a NIMService mount no volumes of others: name a model in S3 or on the hub",
        ),
        CelRule(
            "!has(self.adapters) || size(self.adapters) == 0 || has(self.runtime.lora)",
            "adapters need a server that takes them: add runtime.lora, {} is enough",
        ),
    )


class ModelStatus(Model):
    """A model as the server knows it."""

    name: str
    """What requests name in their `model`."""
    kind: Literal["adapter", "model", "base"]
    """adapter or model: what a job has made. base: as it came."""
    endpoint: Literal["/v1/completions", "/v1/chat/completions"] | None = None
    """The path that goes with how it was trained; a base model may answer on both."""


class ModelDeploymentStatus(Model):
    """What was found and done."""

    observed_generation: int | None = None
    """metadata.generation that this status is about."""
    conditions: Conditions | None = None
    """One entry an aspect; Ready sums them up."""
    state: State | None = None
    """One word for people; programs read the conditions."""
    message: str | None = None
    """One sentence for people: what it waits for, or what to change."""
    url: str | None = None
    """Address inside the cluster, without /v1."""
    models: list[ModelStatus] | None = None
    """Names that every ready replica answers to, the tuned one first."""
    adapters: list[AdapterStatus] | None = None
    """One entry for each of spec.adapters."""
    probe: ProbeStatus | None = None
    """How the servers have answered spec.probe."""
    evaluation: EvaluationStatus | None = None
    """How the served version has answered spec.evaluation."""
    rollout: RolloutStatus | None = None
    """The newest version that was tried by a canary."""
    artifact: ArtifactReference | None = None
    """The artifact that is served, verified; absent for a base model."""
    source: SourceStatus | None = None
    """The job that made the served artifact, where one is followed."""
    replicas: int | None = None
    """Replicas that exist."""
    ready_replicas: int | None = None
    """Replicas that list every model."""
    verified_digest: str | None = None
    """sha256 of the serving file that `verify` passed last; another one is verified anew."""
    verified_base: BaseVersion | None = None
    """The base model as `verify` found it then; servers stage no other state of it."""


class ModelDeployment(Resource):
    """Serves a fine-tuned or a base model on an OpenAI-compatible endpoint."""

    names: ClassVar[Names] = Names("ModelDeployment", "modeldeployments", "modeldeployment", "md")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("State", "string", ".status.state", "The conditions in one word"),
        Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether every replica answers"),
        Column("Replicas", "integer", ".status.readyReplicas", "Replicas that answer"),
        Column("Model", "string", ".status.models[0].name", "What requests name in their `model`"),
        Column("URL", "string", ".status.url", "Address inside the cluster"),
        Column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
        Column("Message", "string", ".status.message", "What it waits for, or what to change"),
        Column("Type", "string", ".spec.runtime.type", "The server", priority=1),
    )
    cel_rules = (
        CelRule(
            "self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$') && size(self.metadata.name) <= 52",
            "metadata.name must start with a letter, hold only a-z, 0-9 and '-', and be at most 52 characters long",
        ),
    )

    spec: ModelDeploymentSpec
    """What is asked for."""
    status: ModelDeploymentStatus | None = None
    """What is."""
