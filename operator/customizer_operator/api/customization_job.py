"""CustomizationJob: fine-tune a model on data and publish the result."""

from typing import ClassVar, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.job import PROMPT_TEMPLATE_PATTERN, CheckpointPolicy
from customizer_contract.outline import Outline
from customizer_contract.sources import S3_URI_PATTERN
from customizer_contract.unsloth import Unsloth
from customizer_operator.api.automodel import DEVICE_RULES, Automodel
from customizer_operator.api.base import IMMUTABLE, Column, Names, Resource
from customizer_operator.api.common import (
    ENDPOINT_PATTERN,
    GpuResource,
    ModelSource,
    Name,
    ObjectStorage,
    Placement,
    Quantity,
    Resources,
    ServedName,
    Source,
)
from customizer_operator.api.customization_job_status import CustomizationJobStatus
from customizer_operator.api.integrations import Integrations
from customizer_operator.api.model_deployment import ServingSettings
from customizer_operator.api.scheduling import Scheduling

NAME_LIMIT = 40
"""`<name>-a<N>-worker-<index>` is the name of a Service, so at most 63 characters."""


def _token(source: str) -> str:
    """CEL: the token that a source names, as a list of at most one string."""
    reference = f"{source}.huggingFace.tokenSecretRef"
    return f"(has({source}.huggingFace) && has({reference}) ? [{reference}.name + '/' + {reference}.key] : [])"


_TEACHER = "self.automodel.training.teacherModel"
_TOKENS = (
    f"({_token('self.model')} + {_token('self.dataset.training')}"
    f" + (has(self.dataset.validation) ? {_token('self.dataset.validation')} : [])"
    f" + (has(self.automodel) && has({_TEACHER}) ? {_token(_TEACHER)} : []))"
)


class Dataset(Model):
    """The data to train on."""

    training: Source
    """JSONL files to train on: prompt/completion records or chat messages. A file, or a folder of them."""
    validation: Source | None = None
    """Data to validate on. Default: schedule.validationSplit of the training data is held out."""
    prompt_template: str | None = Field(None, pattern=PROMPT_TEMPLATE_PATTERN, max_length=1024)
    """Two columns of the records as `{column} {column}`; the last one is the completion."""

    cel_rules = (
        CelRule(
            "!has(self.promptTemplate) || self.promptTemplate.split('{')[1].split('}')[0].trim()"
            " != self.promptTemplate.split('{')[2].split('}')[0].trim()",
            "promptTemplate must name two columns, the prompt's and the completion's",
        ),
    )


class ArtifactLocation(Model):
    """A prefix in S3."""

    uri: str = Field(pattern=S3_URI_PATTERN, max_length=1024)
    """s3://bucket/prefix that will hold the artifact. Nothing there is ever overwritten."""

    cel_rules = (
        CelRule(
            "self.uri.matches('^s3://[^/]+/[^/]')",
            "uri needs a prefix below the bucket, such as s3://bucket/models/my-model",
        ),
    )


class Output(Model):
    """Where the result goes."""

    s3: ArtifactLocation
    """Where the artifact is published."""
    name: ServedName | None = None
    """Name under which the result is served. Default: the job's name."""


class JobStorage(ObjectStorage):
    """How S3 is reached. Credentials may change, the store may not."""

    endpoint_url: str | None = Field(None, pattern=ENDPOINT_PATTERN, max_length=1024, json_schema_extra=IMMUTABLE)
    """URL of the S3 service. Default: that of AWS for the region."""
    region: str = Field("us-east-1", min_length=1, max_length=63, json_schema_extra=IMMUTABLE)
    """Region of the buckets."""


class Workspace(Model):
    """Disk on which a pod keeps model, data and checkpoints."""

    storage_class_name: Name | None = None
    """StorageClass of a volume made for each pod. Default: that of the cluster."""
    size: Quantity = Field()
    """Size of the volume."""


class Compute(Placement):
    """What the pods run on. It may change; the next attempt obeys it."""

    device: Literal["gpu", "cpu"] = Field("gpu", json_schema_extra=IMMUTABLE)
    """gpu, or cpu for small models, CI and demos."""
    gpu_resource: GpuResource = "nvidia.com/gpu"
    """Name under which nodes offer GPUs."""
    gpu_memory: Quantity | None = None
    """Memory of a GPU, such as 80Gi. Preflight then refuses what would not fit, and names what would."""
    resources: Resources = Resources()
    """What a training pod asks of its node beside GPUs. Default: nothing, so as much as is there."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm. Default: 1Gi a GPU."""
    workspace: Workspace | None = None
    """A volume for each training pod's workspace. Default: the node's own disk."""
    image: str | None = Field(None, min_length=1, max_length=1024)
    """Training image in place of the operator's."""


class FailurePolicy(Model):
    """When the job is given up."""

    max_attempts: int = Field(3, ge=1, le=20)
    """Failed attempts after which the job fails. Evictions, preemptions and suspensions do not count."""
    hung_after_seconds: int = Field(1800, ge=0, le=604_800)
    """An attempt that trains but tells of no step, validation or checkpoint for so long, and for 20 times its median
    step, is ended as hung; so is one whose rank 0 answers no more. More than a validation takes. Loading and
    publishing, which tell of nothing, may take 12 hours. 0: never."""


class CustomizationJobSpec(Model):
    """What to train on what, how, on which machines, and where the result goes."""

    model: ModelSource = Field(json_schema_extra=IMMUTABLE)
    """The model to start from."""
    dataset: Dataset = Field(json_schema_extra=IMMUTABLE)
    """The data to train on."""
    automodel: Automodel | None = Field(None, json_schema_extra=IMMUTABLE)
    """Fine-tuning by NeMo Automodel: many GPUs and nodes."""
    unsloth: Unsloth | None = Field(None, json_schema_extra=IMMUTABLE)
    """Fine-tuning by Unsloth: one GPU, little memory."""
    output: Output = Field(json_schema_extra=IMMUTABLE)
    """Where the result goes."""
    object_storage: JobStorage = JobStorage()
    """How S3 is reached."""
    checkpoints: CheckpointPolicy = Field(CheckpointPolicy(), json_schema_extra=IMMUTABLE)
    """When progress is saved."""
    integrations: Integrations | None = Field(None, json_schema_extra=IMMUTABLE)
    """Trackers that are told of the training while it runs. One that is away is a warning, never a failure."""
    compute: Compute = Compute()
    """What the pods run on."""
    scheduling: Scheduling = Scheduling()
    """Who admits the pods, and which of them must be near each other."""
    failure_policy: FailurePolicy = FailurePolicy()
    """When the job is given up."""
    active_deadline_seconds: int | None = Field(None, ge=1, le=31_536_000)
    """Seconds that attempts may hold their nodes, all attempts together, before the job fails. Default: no limit."""
    ttl_seconds_after_finished: int | None = Field(None, ge=0, le=31_536_000)
    """Seconds after its end until the job is deleted; its artifact stays. Default: it is kept."""
    deployment: ServingSettings | None = None
    """Serves the artifact once it is published: a ModelDeployment of the job's name is created, once. It outlives the
    job, and is changed and deleted like any other."""
    plan_only: bool = False
    """Stops after preflight, with the plan in the status and no GPU held; false again trains. Without effect once an
    attempt has started."""
    suspend: bool = False
    """Stops the job after a checkpoint; false again resumes it as a new attempt."""

    cel_rules = (
        CelRule(
            "has(self.automodel) || has(self.unsloth)",
            "name the backend: add automodel: {} or unsloth: {} to train with its defaults",
        ),
        CelRule(
            "!(has(self.automodel) && has(self.unsloth))",
            "name one backend: remove either automodel or unsloth",
        ),
        *DEVICE_RULES,
        CelRule(
            "!has(self.automodel)"
            " || self.automodel.parallelism.numGpusPerNode % self.automodel.parallelism.tensorParallelSize == 0"
            " || (has(self.scheduling.topology) && self.scheduling.topology.allowTensorParallelAcrossNodes)",
            "a tensor-parallel group stays within a pod: make numGpusPerNode a multiple of tensorParallelSize, or set"
            " scheduling.topology.allowTensorParallelAcrossNodes and fastDomainLabel",
        ),
        CelRule(
            "!has(self.automodel) || !has(self.scheduling.topology) || !has(self.scheduling.topology.fastDomainNodes)"
            " || self.automodel.parallelism.tensorParallelSize"
            " <= self.automodel.parallelism.numGpusPerNode * self.scheduling.topology.fastDomainNodes",
            "a tensor-parallel group stays within a fast domain: lower tensorParallelSize to at most numGpusPerNode *"
            " scheduling.topology.fastDomainNodes",
        ),
        # Affinity cannot tell groups of pods apart: only where all pods fit into a domain can it keep a group in one.
        CelRule(
            "!has(self.automodel) || has(self.scheduling.queue) || self.scheduling.scheduler != 'Default'"
            " || self.automodel.parallelism.numGpusPerNode % self.automodel.parallelism.tensorParallelSize == 0"
            " || self.automodel.parallelism.tensorParallelSize"
            " == self.automodel.parallelism.numNodes * self.automodel.parallelism.numGpusPerNode"
            " || (has(self.scheduling.topology) && has(self.scheduling.topology.fastDomainNodes)"
            " && self.automodel.parallelism.numNodes <= self.scheduling.topology.fastDomainNodes)",
            "several tensor-parallel groups that span pods need a scheduler that knows groups: name scheduling.queue,"
            " or scheduler Volcano; or set scheduling.topology.fastDomainNodes, if a fast domain holds all numNodes",
        ),
        CelRule(
            f"{_TOKENS}.all(a, {_TOKENS}.all(b, a == b))",
            "the pods take one Hugging Face token: name the same tokenSecretRef wherever you name one",
        ),
    )

    @property
    def teacher(self) -> ModelSource | None:
        """The model to learn from, of a distillation."""
        return None if self.automodel is None else self.automodel.training.teacher_model

    @property
    def outline(self) -> Outline | None:
        """What the backend's settings come down to; None when none is named, which only an older CRD lets through."""
        backend = self.automodel or self.unsloth
        return None if backend is None else backend.outline


class CustomizationJob(Resource):
    """Fine-tunes a model on data and publishes the result to S3."""

    names: ClassVar[Names] = Names("CustomizationJob", "customizationjobs", "customizationjob", "cjob")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("State", "string", ".status.state", "The conditions in one word"),
        Column("Step", "string", ".status.progress.steps", "Optimizer steps done and planned"),
        Column("Loss", "string", ".status.progress.loss", "Training loss of the newest step"),
        Column("ETA", "string", ".status.progress.eta", "Time left, as training goes now"),
        Column("GPUs", "integer", ".status.plan.worldSize", "GPUs of an attempt; processes with device cpu"),
        Column("Attempt", "integer", ".status.attempt", "Number of the newest attempt"),
        Column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
        Column("Message", "string", ".status.message", "What goes on, or what to do"),
        Column("Artifact", "string", ".status.artifact.uri", "Where the result is", priority=1),
        Column("Digest", "string", ".status.artifact.manifestDigest", "sha256 of its manifest", priority=1),
    )
    cel_rules = (
        CelRule(
            f"self.metadata.name.size() <= {NAME_LIMIT} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            f"metadata.name becomes part of host names: at most {NAME_LIMIT} lower-case letters, digits and dashes,"
            " beginning with a letter",
        ),
    )

    spec: CustomizationJobSpec
    """What is asked for."""
    status: CustomizationJobStatus | None = None
    """What has become of it."""
