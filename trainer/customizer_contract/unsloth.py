"""What can be asked of the Unsloth backend: one GPU. NeMo Customizer's names and defaults, in camelCase.

The CRD's `spec.unsloth` is this very model, and the job file carries it unchanged.
"""

from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_contract.outline import Outline

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

    cel_rules = (
        CelRule(
            "!(self.loadIn4bit && self.loadIn8bit)",
            "load in 4 or in 8 bits, not both: with loadIn8bit: true, write loadIn4bit: false",
        ),
    )


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
    random_state: int = Field(3407, ge=0)
    """Seed of the adapter's initial weights."""


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
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Course of the learning rate after the warm-up. constant has none."""
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


class Hardware(Model):
    """How the GPU computes."""

    precision: Literal["bf16", "fp16"] = "bf16"
    """Precision of the computation. fp16 for GPUs older than Ampere. A CPU computes in the precision of the weights."""


class Saving(Model):
    """The form of the result."""

    save_method: Literal["lora", "merged_16bit"] = "lora"
    """lora: the adapter by itself; all weights as they are. merged_16bit: a model with the adapter merged into it."""


class Unsloth(Model):
    """A fine-tuning by Unsloth: one GPU, little memory."""

    model: ModelSettings = ModelSettings()
    """How the model is loaded."""
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
            adapts=training.finetuning_type == "lora",
            max_seq_length=self.model.max_seq_length,
            max_seq_length_field="unsloth.model.maxSeqLength",
            selection="last",
        )
