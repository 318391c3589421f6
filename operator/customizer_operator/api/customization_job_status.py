"""What the operator tells of a CustomizationJob."""

from datetime import datetime

from pydantic import Field

from customizer_contract.base import Model
from customizer_contract.result import ArtifactReference, DatasetFacts, ModelFacts
from customizer_operator.api.base import Conditions
from customizer_operator.api.reasons import AttemptOutcome


class PlannedGroup(Model):
    """Pods that one parallelism wants near each other."""

    parallelism: str
    """Tensor, Context, Expert or Shard."""
    groups: int
    """Number of such groups."""
    pods: int
    """Pods of each; the first group holds the lowest ranks."""
    domain: str
    """What the pods of a group should share: Node, FastDomain or Block; Any where no label of the spec has room."""
    label: str | None = None
    """Node label whose value they should share."""
    asked: str | None = None
    """How the scheduler is asked for that. Required: the attempt rather waits than runs without. Preferred: it runs
    without where there is no room. Absent: it is not asked, since a group is one pod, no label is named, or the
    scheduler knows no such request."""


class GrantedGroup(Model):
    """Where the pods of one group run."""

    parallelism: str
    """Tensor, Context, Expert or Shard."""
    group: int
    """0 for the group of the lowest ranks."""
    nodes: list[str] = Field(max_length=1024)
    """Nodes of its pods, by rank."""
    domains: list[str] | None = Field(None, max_length=1024)
    """Values of the label on those nodes; more than one: the group crosses domains. A node without the label is a
    domain of its own, by its name."""


class GrantedPlacement(Model):
    """Where the pods of an attempt run, by what was asked for."""

    attempt: int
    """Number of the attempt."""
    groups: list[GrantedGroup] | None = Field(None, max_length=128)
    """Groups of several pods, those that cross domains first; at most 128."""
    crossing: int
    """Groups whose pods lie in several domains."""
    tensor_parallel_crosses_nodes: bool
    """Whether tensor-parallel groups span nodes."""


class PlannedTransfers(Model):
    """What goes over the network, about; known after preflight."""

    model: str
    """What each pod fetches of the model; 0 from a mounted volume."""
    dataset: str | None = None
    """What each pod fetches of the data; 0 from a mounted volume."""
    checkpoint: str
    """A checkpoint, the parts of all pods together. A later attempt fetches one, too."""
    artifact: str
    """The artifact's weights."""
    total: str
    """All that one attempt from the first step to the last moves; checkpoints that are due by the clock alone are not
    counted."""


class TrainingPlan(Model):
    """How the work is spread and how long it is."""

    nodes: int
    """Pods of an attempt."""
    gpus_per_node: int
    """GPUs of a pod; processes with device cpu."""
    world_size: int
    """Processes of an attempt."""
    tensor_parallel_size: int = 1
    """Processes that share each layer's matrices."""
    pipeline_parallel_size: int = 1
    """Groups of processes that hold consecutive layers each."""
    context_parallel_size: int = 1
    """Processes that share each sample's tokens."""
    expert_parallel_size: int = 1
    """Processes that share the experts; 1 of a dense model."""
    data_parallel_size: int
    """Groups of processes that see different samples."""
    gradient_accumulation_steps: int
    """Micro batches that a process works through before each optimizer step."""
    steps_per_epoch: int | None = None
    """Optimizer steps of an epoch; known after preflight."""
    total_steps: int | None = None
    """Optimizer steps of the training; known after preflight."""
    tokens_per_step: int | None = None
    """Tokens of an optimizer step, at most."""
    pack_size: int | None = None
    """Tokens of a sequence that samples share; absent where each has one of its own."""
    estimated_memory_per_gpu: str | None = None
    """Memory that a GPU needs, estimated from preflight's facts; of a process with device cpu."""
    transfers: PlannedTransfers | None = None
    """What goes over the network."""
    placement: list[PlannedGroup] | None = Field(None, max_length=8)
    """Pods that should be near each other."""


class JobProgress(Model):
    """The training as rank 0 told it last."""

    phase: str
    """What rank 0 is doing."""
    step: int
    """Optimizer steps done, those of earlier attempts that were resumed included."""
    total_steps: int
    """Optimizer steps of the training."""
    percent: int
    """Share of the steps that is done."""
    epoch: float
    """Passes over the data, done so far."""
    train_loss: float | None = None
    """Mean loss a target token of the newest step, in nats."""
    validation_loss: float | None = None
    """Mean loss a target token of the newest validation, in nats."""
    learning_rate: float | None = None
    """Learning rate of the newest step."""
    tokens_per_second: float | None = None
    """Tokens a second over all processes, padding excluded."""
    checkpoint_step: int | None = None
    """Step of the newest complete checkpoint in S3."""
    steps: str
    """step and totalSteps for `kubectl get`."""
    loss: str | None = None
    """trainLoss for `kubectl get`."""
    eta: str | None = None
    """Time left for `kubectl get`."""
    updated_at: datetime
    """When rank 0 told this."""


class Attempt(Model):
    """One attempt at the training: one PyTorchJob."""

    number: int
    """1 for the first."""
    started_at: datetime
    """When its PyTorchJob was created."""
    placed_at: datetime | None = None
    """When all of its pods had a node."""
    running_at: datetime | None = None
    """When all of its pods first ran."""
    ended_at: datetime | None = None
    """When it ended."""
    outcome: AttemptOutcome | None = None
    """How it ended."""
    reason: str | None = None
    """Why it ended, in one word: of the error catalogue where it knows."""
    message: str | None = Field(None, max_length=2048)
    """Why it ended, in the words of the first rank that failed."""
    retryable: bool | None = None
    """Whether another attempt may end otherwise."""
    resumed_from_step: int | None = None
    """Step of the checkpoint that it began with; absent when it began anew."""
    step: int | None = None
    """Newest step that it reached."""
    lost_steps: int | None = None
    """Steps that it had done and that were done again, since no checkpoint had them."""
    lost_seconds: int | None = None
    """Seconds that its end cost: until the next attempt ran, and those of the lost steps."""
    silent_since: datetime | None = None
    """Since when rank 0 has not told its progress while all pods run."""
    nodes: list[str] | None = None
    """Nodes that its pods ran on, by rank."""
    failed_node: str | None = None
    """Node of the pod that ended it."""
    last_lines: str | None = Field(None, max_length=2048)
    """Last lines of the log of the pod that ended it, if it left no better word; what may be secret is masked."""


class JobReport(Model):
    """What the job took, all attempts together."""

    summary: str | None = None
    """All of it in a sentence."""
    gpu_hours: float | None = None
    """GPUs times hours for which pods held them; absent with device cpu."""
    tokens_per_second_per_gpu: float | None = None
    """Tokens a second and process, padding excluded, as rank 0 told it last."""
    queued_seconds: int
    """Seconds in which pods waited for nodes."""
    idle_seconds: int
    """Seconds in which pods held nodes and did not train yet: they fetched model, data and checkpoint."""
    running_seconds: int
    """Seconds in which all pods ran, steps that were lost included."""
    restarted_seconds: int
    """Seconds that ends of attempts cost: the sum of their lostSeconds."""


class CustomizationJobStatus(Model):
    """What has become of the job."""

    observed_generation: int | None = None
    """metadata.generation that this was computed for."""
    deployment: str | None = None
    """Name of the ModelDeployment that was created of spec.deployment."""
    state: str | None = None
    """The conditions in one word, for people."""
    message: str | None = None
    """What goes on, or what to do."""
    plan: TrainingPlan | None = None
    """How the work is spread and how long it is."""
    placement: GrantedPlacement | None = None
    """Where the pods of the newest attempt run, by what plan.placement asks for."""
    dataset: DatasetFacts | None = None
    """What preflight found in the data."""
    model: ModelFacts | None = None
    """What preflight found in the model."""
    progress: JobProgress | None = None
    """The training as rank 0 told it last."""
    attempt: int | None = None
    """Number of the newest attempt."""
    attempts: list[Attempt] | None = Field(None, max_length=200)
    """Every attempt so far, oldest first."""
    report: JobReport | None = None
    """What the job took; once it has ended."""
    artifact: ArtifactReference | None = None
    """The published result."""
    warnings: list[str] | None = Field(None, max_length=50)
    """What did not stop the job but should be known."""
    conditions: Conditions | None = None
    """The state, aspect by aspect."""
