"""What can be asked of the NeMo Automodel backend. NeMo Customizer's names and defaults, in camelCase.

The CRD's `spec.automodel` is this very model, and the job file carries it unchanged.
"""

from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.outline import Outline


class Lora(Model):
    """Low-rank adapters beside frozen weights."""

    rank: int = Field(16, ge=1, le=256)
    """Rank of the adapter matrices. More rank learns more and costs memory; servers cap it (often at 32)."""
    alpha: int = Field(32, ge=1)
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, le=1)
    """Share of adapter inputs dropped while training."""
    target_modules: list[str] | None = Field(None, max_length=64)
    """Names or globs of the linear layers to adapt. Default: every `*_proj` layer."""
    exclude_modules: list[str] | None = Field(None, max_length=64)
    """Names or globs of linear layers not to adapt; all others are, lm_head excepted. Not beside targetModules."""
    merge: bool = False
    """Publishes a whole model with the adapter added to its weights, as finetuningType lora_merged does."""
    use_triton: bool | None = None
    """Computes adapters with Triton kernels, which need a GPU. Default: true where there is one."""

    cel_rules = (
        CelRule(
            "!(has(self.targetModules) && has(self.excludeModules))",
            "name either targetModules or excludeModules",
        ),
    )


class Training(Model):
    """What is trained and in which form."""

    training_type: Literal["sft", "distillation"] = "sft"
    """sft: the answers of the data are learned. distillation: so is what a teacher would say at each of their
    tokens."""
    finetuning_type: Literal["lora", "lora_merged", "all_weights"] = "lora"
    """lora: an adapter beside the frozen base model. lora_merged: the same, but published as a whole model.
    all_weights: every weight is trained."""
    lora: Lora | None = None
    """Settings of the adapter; only with finetuningType lora and lora_merged."""
    max_seq_length: int = Field(2048, ge=8)
    """Longest sample in tokens. A longer one loses the start of its prompt; what still does not fit is dropped."""
    precision: Literal["bf16", "fp16", "fp32", "fp8"] | None = None
    """Data type of weights and compute. fp8: weights in bf16, products of matrices in 8 bits, on GPUs from compute
    capability 8.9. Default: that of the checkpoint."""
    attn_implementation: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    """Attention kernel. flash_attention_2 needs a GPU. Only sdpa goes with contextParallelSize above 1."""
    distillation_ratio: float = Field(0.5, ge=0, le=1)
    """Share of the teacher in the loss of a distillation: 0 learns from the data alone, 1 from the teacher alone."""
    distillation_temperature: float = Field(1.0, gt=0)
    """Softens what teacher and student say before they are compared; above 1, unlikely tokens count for more."""
    teacher_precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Data type of the teacher."""
    offload_teacher: bool = False
    """Keeps the teacher in the host's memory while it does not compute, which saves a GPU's and is slow."""

    cel_rules = (
        CelRule(
            "!has(self.lora) || self.finetuningType != 'all_weights'",
            "lora is for finetuningType: lora and lora_merged; remove the block, or change finetuningType",
        ),
        CelRule(
            "!has(self.precision) || self.precision != 'fp8' || self.finetuningType == 'all_weights'",
            "precision fp8 is for finetuningType: all_weights, since the library drops adapters with it: use bf16",
        ),
        *(
            CelRule(
                f"self.trainingType == 'distillation' || {unset}",
                f"{field} is for trainingType: distillation; remove it, or change trainingType",
            )
            for field, unset in {
                "distillationRatio": "self.distillationRatio == 0.5",
                "distillationTemperature": "self.distillationTemperature == 1.0",
                "teacherPrecision": "self.teacherPrecision == 'bf16'",
                "offloadTeacher": "!self.offloadTeacher",
            }.items()
        ),
    )

    @property
    def adapts(self) -> bool:
        """Tells whether adapters are trained, rather than all weights."""
        return self.finetuning_type != "all_weights"

    @property
    def merges(self) -> bool:
        """Tells whether the adapter is published as a part of the model's weights."""
        return self.finetuning_type == "lora_merged" or (self.lora is not None and self.lora.merge)

    @property
    def distills(self) -> bool:
        """Tells whether there is a teacher."""
        return self.training_type == "distillation"


class Schedule(Model):
    """How long to train and when to validate."""

    epochs: int = Field(1, ge=1)
    """Passes over the training data."""
    max_steps: int | None = Field(None, ge=1)
    """Stops after this many optimizer steps, if the epochs have not ended before. Never extends them."""
    val_check_interval: float | None = Field(None, gt=0)
    """Validate every so often: up to 1.0 a share of an epoch, above 1 a number of steps. Default: once an epoch."""
    validation_split: float = Field(0.1, gt=0, lt=1)
    """Share of the training data held out for validation when `dataset.validation` is not given."""
    checkpoint_selection: Literal["best", "last", "both"] = "best"
    """Which checkpoint becomes the artifact: that with the lowest validation loss, or the last one. both: the best, and
    the last beside it in `alternates/last`, which is not served."""
    seed: int = Field(1111, ge=0)
    """Seed of the split, the shuffling, the adapter's initial weights and dropout."""


class Batch(Model):
    """How many samples an optimizer step sees."""

    global_batch_size: int = Field(8, ge=1, le=1_048_576)
    """Samples an optimizer step sees, over all GPUs. A multiple of microBatchSize times the data-parallel size."""
    micro_batch_size: int = Field(1, ge=1, le=65_536)
    """Samples a GPU holds at once. Memory follows this one."""
    sequence_packing: bool = False
    """Puts several training samples into one sequence of at most maxSeqLength tokens, so that little is padded. They do
    not see each other, and a step sees as many tokens as before. Where that cannot be kept, samples are not packed,
    with a warning."""


class Optimizer(Model):
    """The optimizer and the learning rate's course."""

    optimizer: Literal["auto", "Adam", "AdamW", "FusedAdam"] = "auto"
    """auto is Adam. FusedAdam is AdamW in one kernel."""
    learning_rate: float = Field(5e-6, gt=0)
    """Peak learning rate. LoRA usually wants 1.0e-4 to 1.0e-5, all weights 1.0e-5 to 5.0e-6."""
    min_learning_rate: float | None = Field(None, ge=0)
    """Learning rate at the end of the decay. Default: 0."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay with AdamW and FusedAdam, an L2 penalty with Adam."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment."""
    adam_eps: float = Field(1e-8, gt=0)
    """Term that keeps the division stable."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from zero."""
    lr_decay_style: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""


_GPUS = "self.numNodes * self.numGpusPerNode"
_MODEL_PARALLEL = "self.tensorParallelSize * self.pipelineParallelSize * self.contextParallelSize"
"""CEL: GPUs that hold one copy of the model and of a batch."""


class Parallelism(Model):
    """How the work is spread. A node is one pod."""

    num_nodes: int = Field(1, ge=1, le=1024)
    """Pods, each on a node of its own if there are enough."""
    num_gpus_per_node: int = Field(1, ge=1, le=16)
    """GPUs a pod takes. With compute.device cpu: processes a pod runs."""
    tensor_parallel_size: int = Field(1, ge=1, le=1024)
    """GPUs that share each layer's matrices. For models that do not fit on one GPU; best kept within a node."""
    pipeline_parallel_size: int = Field(1, ge=1, le=1024)
    """Groups of GPUs that hold consecutive layers each. Only to save memory; every sample is padded to one length."""
    context_parallel_size: int = Field(1, ge=1, le=1024)
    """GPUs that share each sample's tokens. For long samples, from 8192 tokens."""
    expert_parallel_size: int | None = Field(None, ge=1, le=1024)
    """GPUs that share the experts of a mixture of experts. Dense models have none: leave it out, or 1."""
    data_parallel_replicate_size: int = Field(1, ge=1, le=1024)
    """Copies of the weights that are kept, each sharded over two data-parallel GPUs at least. 1 shards one copy over
    all of them, which takes least memory."""
    sequence_parallel: bool = False
    """Shares the activations between layers over the tensor-parallel GPUs, which saves memory."""

    cel_rules = (
        CelRule(
            f"({_GPUS}) % ({_MODEL_PARALLEL}) == 0",
            "numNodes * numGpusPerNode must be a multiple of tensorParallelSize * pipelineParallelSize"
            " * contextParallelSize: raise the GPUs, or lower these sizes",
        ),
        CelRule(
            # The library keeps shards of a copy, so that there must be two at least.
            f"self.dataParallelReplicateSize == 1 || (({_GPUS}) % ({_MODEL_PARALLEL} * self.dataParallelReplicateSize)"
            f" == 0 && ({_GPUS}) > {_MODEL_PARALLEL} * self.dataParallelReplicateSize)",
            "dataParallelReplicateSize must divide the data-parallel size and be less, unless it is 1; that size is"
            " numNodes * numGpusPerNode / (tensorParallelSize * pipelineParallelSize * contextParallelSize): lower it",
        ),
        CelRule(
            "!has(self.expertParallelSize)"
            f" || ({_GPUS}) % (self.tensorParallelSize * self.pipelineParallelSize * self.expertParallelSize) == 0",
            "expertParallelSize must divide the data-parallel size times contextParallelSize: lower it, or raise the"
            " GPUs",
        ),
        CelRule(
            "!has(self.expertParallelSize) || self.expertParallelSize == 1 || self.tensorParallelSize == 1",
            "expertParallelSize and tensorParallelSize cannot both be more than 1: with experts, set"
            " tensorParallelSize: 1",
        ),
        CelRule(
            "!self.sequenceParallel || self.tensorParallelSize > 1",
            "sequenceParallel shares work of the tensor-parallel GPUs: remove it, or raise tensorParallelSize",
        ),
    )


class Automodel(Model):
    """A fine-tuning by NeMo Automodel: many GPUs and nodes."""

    training: Training = Training()
    """What is trained and in which form."""
    schedule: Schedule = Schedule()
    """How long to train and when to validate."""
    batch: Batch = Batch()
    """How many samples an optimizer step sees."""
    optimizer: Optimizer = Optimizer()
    """The optimizer and the learning rate's course."""
    parallelism: Parallelism = Parallelism()
    """How the work is spread over pods and GPUs."""

    cel_rules = (
        CelRule(
            "self.batch.globalBatchSize * self.parallelism.tensorParallelSize * self.parallelism.pipelineParallelSize"
            " * self.parallelism.contextParallelSize % (self.batch.microBatchSize * self.parallelism.numNodes"
            " * self.parallelism.numGpusPerNode) == 0",
            "batch.globalBatchSize must be a multiple of microBatchSize * numNodes * numGpusPerNode"
            " / (tensorParallelSize * pipelineParallelSize * contextParallelSize): raise or lower it",
        ),
        CelRule(
            "self.batch.microBatchSize % self.parallelism.pipelineParallelSize == 0",
            "batch.microBatchSize must be a multiple of pipelineParallelSize, else stages stand idle: raise it",
        ),
        CelRule(
            "self.parallelism.contextParallelSize == 1"
            " || self.training.maxSeqLength % (2 * self.parallelism.contextParallelSize) == 0",
            "training.maxSeqLength must be a multiple of 2 * contextParallelSize: raise or lower it",
        ),
        CelRule(
            "self.parallelism.contextParallelSize == 1 || self.training.attnImplementation == 'sdpa'",
            "contextParallelSize above 1 computes attention with sdpa only: remove training.attnImplementation",
        ),
        CelRule(
            "self.training.trainingType != 'distillation' || self.parallelism.pipelineParallelSize == 1",
            "a distillation is not validated in a pipeline: set pipelineParallelSize: 1, and raise tensorParallelSize"
            " if the models do not fit",
        ),
    )

    @property
    def outline(self) -> Outline:
        """What these settings come down to."""
        training, schedule, parallelism = self.training, self.schedule, self.parallelism
        interval = 1.0 if schedule.val_check_interval is None else schedule.val_check_interval
        return Outline(
            nodes=parallelism.num_nodes,
            processes=parallelism.num_gpus_per_node,
            tensor_parallel_size=parallelism.tensor_parallel_size,
            pipeline_parallel_size=parallelism.pipeline_parallel_size,
            context_parallel_size=parallelism.context_parallel_size,
            expert_parallel_size=parallelism.expert_parallel_size or 1,
            data_parallel_replicate_size=parallelism.data_parallel_replicate_size,
            global_batch_size=self.batch.global_batch_size,
            micro_batch_size=self.batch.micro_batch_size,
            epochs=schedule.epochs,
            max_steps=schedule.max_steps,
            max_steps_extend=False,
            warmup_steps=self.optimizer.warmup_steps,
            warmup_ratio=None,
            validate_every_steps=int(interval) if interval > 1 else None,
            validate_every_epochs=interval,
            validation_split=schedule.validation_split,
            seed=schedule.seed,
            adapts=training.adapts,
            max_seq_length=training.max_seq_length,
            max_seq_length_field="automodel.training.maxSeqLength",
            selection=schedule.checkpoint_selection,
            packs=self.batch.sequence_packing,
        )
