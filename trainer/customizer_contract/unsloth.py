"""What can be asked of the Unsloth backend: one GPU. NeMo Customizer's names and defaults, in camelCase.

The CRD's `spec.unsloth` is this very model, and the job file carries it unchanged.
"""

from typing import Annotated, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.outline import Outline
from customizer_contract.rope import RopeScaling

ModuleName = Annotated[str, Field(min_length=1, max_length=128)]
LayerNumber = Annotated[int, Field(ge=0, le=1000)]
LayerRange = Annotated[list[LayerNumber], Field(min_length=2, max_length=2)]

TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ModelSettings(Model):
    """How the model is loaded."""

    max_seq_length: int = Field(2048, ge=8)
    """Longest sample in tokens. A longer one loses the start of its prompt; what still does not fit is dropped."""
    load_in_4bit: bool = Field(True, alias="loadIn4bit")
    """Keeps the frozen weights in 4 bits. Write false to train all weights, or an adapter beside 16-bit weights."""
    load_in_8bit: bool = Field(False, alias="loadIn8bit")
    """Keeps the frozen weights in 8 bits; not together with loadIn4bit. Needs a GPU: not quantized without one."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Data type of weights that are not quantized. auto: what the GPU does best; that of the checkpoint on a CPU."""
    rope_scaling: RopeScaling | None = None
    """Takes longer samples than the model was made for. An adapter does not carry it: its servers must be told."""

    cel_rules = (
        CelRule(
            "!(self.loadIn4bit && self.loadIn8bit)",
            "load in 4 or in 8 bits, not both: with loadIn8bit: true, write loadIn4bit: false",
        ),
    )


class DatasetSettings(Model):
    """How samples become batches."""

    packing: bool = False
    """Puts several samples into one row of at most model.maxSeqLength tokens, so that nothing is padded. They do not
    see each other, and a step sees as many tokens as before. Where that cannot be kept, samples are not packed, with
    a warning."""


class Lora(Model):
    """Low-rank adapters beside frozen weights."""

    rank: int = Field(16, ge=1, le=256)
    """Rank of the adapter matrices. More rank learns more and costs memory; servers cap it (often at 32)."""
    alpha: int = Field(16, ge=1)
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of adapter inputs dropped while training. Unsloth is fastest with 0."""
    target_modules: list[str] = Field(list(TARGET_MODULES), min_length=1, max_length=64)
    """Names of the linear layers to adapt."""
    use_rslora: bool = False
    """Scales by alpha / sqrt(rank) instead, which suits large ranks."""
    use_dora: bool = False
    """Learns the length of each weight vector beside its direction. Slower; vLLM serves it only when merged."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained: none, all of the model's, or those of the adapted layers. Merge it to serve it."""
    modules_to_save: list[ModuleName] | None = Field(None, min_length=1, max_length=16)
    """Modules trained in full: embed_tokens, lm_head, or normalization layers by name. Merge them to serve them."""
    layers_to_transform: list[LayerNumber] | None = Field(None, min_length=1, max_length=256)
    """Numbers of the layers to adapt, from 0. Default: all."""
    layer_replication: list[LayerRange] | None = Field(None, min_length=1, max_length=64)
    """Builds the model anew from ranges of its layers, such as [[0, 16], [8, 24]]; the end is not part of a range."""
    init_lora_weights: Literal["true", "false", "gaussian", "pissa", "olora"] = "true"
    """Initial weights. A string: "true" (no effect at first), "false" (random), gaussian (no effect, but normally
    distributed), pissa or olora (from the model's own weights; an adapter is published with twice the rank)."""
    random_state: int = Field(3407, ge=0)
    """Seed of the adapter's initial weights."""

    cel_rules = (
        CelRule(
            "!has(self.modulesToSave) || self.modulesToSave.all(m, m in ['embed_tokens', 'lm_head']"
            " || m.endsWith('norm'))",
            "modulesToSave takes embed_tokens, lm_head and names of normalization layers, which end in norm",
        ),
        CelRule(
            "!has(self.layerReplication) || self.layerReplication.all(r, r[0] < r[1])",
            "a range of layerReplication is [first, end] with first below end",
        ),
        CelRule(
            "!has(self.layerReplication) || !has(self.layersToTransform)",
            "name either layerReplication or layersToTransform; remove one of them",
        ),
        CelRule(
            "!(self.initLoraWeights in ['pissa', 'olora']) || !(self.useDora || self.useRslora)",
            "initLoraWeights pissa and olora go with neither useDora nor useRslora; remove one of them",
        ),
    )


class Training(Model):
    """What is trained and in which form."""

    finetuning_type: Literal["lora", "all_weights"] = "lora"
    """lora: an adapter beside the frozen base model. all_weights: supervised fine-tuning of every weight."""
    lora: Lora | None = None
    """Settings of the adapter; only with finetuningType lora."""
    use_gradient_checkpointing: Literal["unsloth", "true", "false"] = "unsloth"
    """Saves memory by computing activations twice. A string: unsloth (least memory), "true" or "false"."""

    cel_rules = (
        CelRule(
            "!has(self.lora) || self.finetuningType == 'lora'",
            "lora is for finetuningType: lora; remove the block, or set finetuningType to lora",
        ),
    )

    @property
    def adapts(self) -> bool:
        """Tells whether adapters are trained, rather than all weights."""
        return self.finetuning_type == "lora"


class LrSchedulerKwargs(Model):
    """Options of the learning rate's course."""

    num_cycles: float | None = Field(None, gt=0, le=1000)
    """Waves of cosine (default 0.5: down once), or restarts of cosine_with_restarts (default 1)."""


class Schedule(Model):
    """How long to train and when to validate."""

    epochs: int = Field(1, ge=1)
    """Passes over the training data."""
    max_steps: int | None = Field(None, ge=1)
    """Trains this many optimizer steps, whatever epochs says; it may be more than these take."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from zero."""
    warmup_ratio: float | None = Field(None, ge=0, le=1)
    """The same as a share of all steps. Not beside warmupSteps."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts"] = (
        "linear"
    )
    """Course of the learning rate after the warm-up. constant has none."""
    lr_scheduler_kwargs: LrSchedulerKwargs | None = None
    """Options of lrSchedulerType."""
    logging_steps: int = Field(1, ge=1)
    """Steps between the values that W&B and MLflow are told. Progress and metrics show every step."""
    eval_steps: int | None = Field(None, ge=1)
    """Validate after every so many steps, and at the end. Default: once an epoch."""
    validation_split: float = Field(0.1, gt=0, lt=1)
    """Share of the training data held out for validation when `dataset.validation` is not given."""
    seed: int = Field(3407, ge=0)
    """Seed of the split, the shuffling and dropout."""

    cel_rules = (
        CelRule(
            "self.warmupSteps == 0 || !has(self.warmupRatio)",
            "name either warmupSteps or warmupRatio; remove one of them",
        ),
        CelRule(
            "!has(self.lrSchedulerKwargs) || !has(self.lrSchedulerKwargs.numCycles)"
            " || self.lrSchedulerType in ['cosine', 'cosine_with_restarts']",
            "lrSchedulerKwargs.numCycles is for lrSchedulerType cosine and cosine_with_restarts; remove it",
        ),
        CelRule(
            "!has(self.lrSchedulerKwargs) || !has(self.lrSchedulerKwargs.numCycles)"
            " || self.lrSchedulerType != 'cosine_with_restarts'"
            " || double(int(self.lrSchedulerKwargs.numCycles)) == self.lrSchedulerKwargs.numCycles",
            "the restarts of cosine_with_restarts are counted: lrSchedulerKwargs.numCycles must be a whole number",
        ),
    )


class Batch(Model):
    """How many samples an optimizer step sees: the product of both."""

    per_device_train_batch_size: int = Field(1, ge=1)
    """Samples the GPU holds at once. Memory follows this one."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Such batches before each optimizer step."""


class Optimizer(Model):
    """The optimizer and its learning rate."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay; an L2 penalty with sgd."""
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "sgd"] = "adamw_8bit"
    """The optimizer. Those of 8 bits need a GPU: adamw_torch_fused without one."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """Term that keeps the division stable."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Longest gradient; longer ones are shortened to it. 0 lets all pass."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that is learned for all other tokens than the right one. Validation is without it."""
    neftune_noise_alpha: float | None = Field(None, ge=0)
    """Adds noise of this size to the embeddings while training, against overfitting to few samples."""


class Hardware(Model):
    """How the GPU computes."""

    precision: Literal["bf16", "fp16"] = "bf16"
    """Precision of the computation. fp16 for GPUs older than Ampere. A CPU computes in the precision of the weights."""


class Saving(Model):
    """The form of the result."""

    save_method: Literal["lora", "merged_16bit", "merged_4bit"] = "lora"
    """lora: the adapter by itself; all weights as they are. merged_16bit: a model with the adapter merged into it.
    merged_4bit: that model quantized to 4 bits, for engines with bitsandbytes."""


class Unsloth(Model):
    """A fine-tuning by Unsloth: one GPU, little memory."""

    model: ModelSettings = ModelSettings()
    """How the model is loaded."""
    dataset: DatasetSettings = DatasetSettings()
    """How samples become batches."""
    training: Training = Training()
    """What is trained and in which form."""
    schedule: Schedule = Schedule()
    """How long to train and when to validate."""
    batch: Batch = Batch()
    """How many samples an optimizer step sees."""
    optimizer: Optimizer = Optimizer()
    """The optimizer and its learning rate."""
    hardware: Hardware = Hardware()
    """How the GPU computes."""
    output: Saving = Saving()
    """The form of the result."""

    cel_rules = (
        CelRule(
            "self.training.finetuningType == 'lora' || !(self.model.loadIn4bit || self.model.loadIn8bit)",
            "all weights cannot be trained in 4 or 8 bits: write model: {loadIn4bit: false}, and no loadIn8bit",
        ),
        CelRule(
            "self.training.finetuningType == 'lora' || self.output.saveMethod == 'lora'",
            "there is no adapter to merge with finetuningType: all_weights; remove output.saveMethod",
        ),
        CelRule(
            "!(self.model.dtype == 'float16' && self.hardware.precision == 'bf16')"
            " && !(self.model.dtype == 'bfloat16' && self.hardware.precision == 'fp16')",
            "dtype float16 goes with hardware.precision fp16, bfloat16 with bf16: change one, or use dtype auto",
        ),
        CelRule(
            "!has(self.training.lora) || !(self.training.lora.initLoraWeights in ['pissa', 'olora'])"
            " || !(self.model.loadIn4bit || self.model.loadIn8bit)",
            "initLoraWeights pissa and olora need weights that are not quantized: write model: {loadIn4bit: false},"
            " and no loadIn8bit",
        ),
        CelRule(
            "!has(self.training.lora) || !has(self.training.lora.layerReplication) || self.output.saveMethod == 'lora'",
            "with layerReplication the result has other layers than its base and cannot be merged into it:"
            " remove output.saveMethod",
        ),
    )

    @property
    def outline(self) -> Outline:
        """What these settings come down to."""
        training, schedule, batch = self.training, self.schedule, self.batch
        return Outline(
            nodes=1,
            processes=1,
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            context_parallel_size=1,
            expert_parallel_size=1,
            data_parallel_replicate_size=1,
            global_batch_size=batch.per_device_train_batch_size * batch.gradient_accumulation_steps,
            micro_batch_size=batch.per_device_train_batch_size,
            epochs=schedule.epochs,
            max_steps=schedule.max_steps,
            max_steps_extend=True,
            warmup_steps=schedule.warmup_steps,
            warmup_ratio=schedule.warmup_ratio,
            validate_every_steps=schedule.eval_steps,
            validate_every_epochs=1.0,
            validation_split=schedule.validation_split,
            seed=schedule.seed,
            adapts=training.adapts,
            max_seq_length=self.model.max_seq_length,
            max_seq_length_field="unsloth.model.maxSeqLength",
            selection="last",
            log_every_steps=schedule.logging_steps,
            packs=self.dataset.packing,
            rope=self.model.rope_scaling,
        )
