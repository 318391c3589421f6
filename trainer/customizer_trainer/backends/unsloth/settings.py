"""The job as arguments of Unsloth and TRL: pure functions."""

from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from customizer_contract.job import Job
from customizer_contract.steps import count_steps, gradient_accumulation_steps
from customizer_contract.unsloth import Lora, Unsloth
from customizer_trainer.backends.backend import Inputs

_NO_LIMIT = 1e30
"""A gradient's norm that none reaches. With the library's own 0 the norm would not be computed, nor watched."""
_CHECKPOINTING: dict[str, str | bool] = {"unsloth": "unsloth", "true": True, "false": False}
_INITIAL = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Substitute:
    """A setting that a device cannot follow, and what is done instead."""

    block: str
    field: str
    asked: tuple[object, ...]
    taken: object
    warning: str


ON_CPU = (
    Substitute("model", "load_in_8bit", (True,), False, "loadIn8bit needs a GPU: weights are not quantized."),
    Substitute("model", "dtype", ("float16",), "auto", "dtype float16 needs a GPU: that of the checkpoint is used."),
    Substitute(
        "optimizer",
        "optim",
        ("adamw_8bit", "paged_adamw_8bit"),
        "adamw_torch_fused",
        "optim {asked} needs a GPU: adamw_torch_fused is used.",
    ),
    Substitute("hardware", "precision", ("fp16",), "bf16", "precision fp16 needs a GPU: that of the weights is used."),
)
"""All that a job for a CPU gets otherwise than it asked for."""

_UNSERVED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("use_dora", (False,)),
    ("bias", ("none",)),
    ("modules_to_save", (None,)),
    ("layer_replication", (None,)),
)
"""Fields of an adapter that vLLM does not serve, and the values with which it does."""


def build_settings(job: Job, inputs: Inputs) -> dict[str, Any]:
    """Builds the arguments of `from_pretrained` (model), `get_peft_model` (lora) and `SFTConfig` (trainer)."""
    spec, steps = _effective(job), count_steps(job.outline, inputs.training_samples, inputs.packing)
    return {
        "model": _model(spec, job, inputs),
        "lora": _lora(spec) if spec.training.adapts else None,
        "trainer": _trainer(spec, job, inputs),
        "samples": str(inputs.samples),
        "pack_size": None if inputs.packing is None else inputs.packing.size,
        "resume": str(inputs.resume) if inputs.resume else None,
        "validate_every": steps.validate_every,
        "save_every": job.checkpoints.every_steps or steps.validate_every,
        "save_every_seconds": job.checkpoints.every_minutes * 60,
    }


def build_environment(device: str, scratch: str) -> dict[str, str]:
    """Returns what must be set before the library is imported."""
    return {
        # It would install system packages by itself.
        "UNSLOTH_AUTO_INSTALL": "0",
        # A job for a GPU never trains on a CPU because of a broken driver, nor the other way round.
        **({"UNSLOTH_DISABLE_CPU_FALLBACK": "1"} if device == "gpu" else {"UNSLOTH_FORCE_CPU": "1"}),
        # The working directory of a pod is read-only.
        "UNSLOTH_COMPILE_LOCATION": f"{scratch}/compiled",
        "HF_HOME": f"{scratch}/hub",
    }


def warn_of_device(job: Job) -> list[str]:
    """Names what the device cannot do, and what is done instead."""
    spec = _asked(job)
    if job.device == "gpu":
        return []
    return [
        each.warning.format(asked=getattr(getattr(spec, each.block), each.field))
        for each in ON_CPU
        if getattr(getattr(spec, each.block), each.field) in each.asked
    ]


def warn_of_serving(job: Job) -> list[str]:
    """Names what will keep servers from using the result as it was trained."""
    spec = _asked(job)
    lora = spec.training.lora
    if not spec.training.adapts or spec.output.save_method != "lora":
        return []
    warnings = [
        f"vLLM does not serve an adapter with {to_camel(field)}: use output.saveMethod merged_16bit, or serve it with"
        " PEFT."
        for field, served in _UNSERVED
        if lora is not None and getattr(lora, field) not in served
    ]
    if spec.model.rope_scaling is not None:
        warnings.append("An adapter does not carry model.ropeScaling: serve its base model with the same.")
    return warnings


def _asked(job: Job) -> Unsloth:
    if job.unsloth is None:
        raise ValueError("the job names another backend")
    return job.unsloth


def _effective(job: Job) -> Unsloth:
    spec = _asked(job)
    for each in ON_CPU if job.device == "cpu" else ():
        block = getattr(spec, each.block)
        if getattr(block, each.field) in each.asked:
            spec = spec.model_copy(update={each.block: block.model_copy(update={each.field: each.taken})})
    return spec


def _model(spec: Unsloth, job: Job, inputs: Inputs) -> dict[str, Any]:
    return {
        "model_name": str(inputs.model),
        "max_seq_length": spec.model.max_seq_length,
        "dtype": _dtype(spec, job, inputs) if spec.model.dtype == "auto" else spec.model.dtype,
        "load_in_4bit": spec.model.load_in_4bit,
        "load_in_8bit": spec.model.load_in_8bit,
        "full_finetuning": not spec.training.adapts,
        "trust_remote_code": job.model.trust_remote_code,
        "use_gradient_checkpointing": _CHECKPOINTING[spec.training.use_gradient_checkpointing],
        "device_map": {"": 0} if job.device == "gpu" else "cpu",
        **_given(rope_scaling=spec.model.rope_scaling and spec.model.rope_scaling.model_dump(exclude_none=True)),
    }


def _given(**arguments: Any) -> dict[str, Any]:
    """Leaves out what is not given, so that the library's own default holds."""
    return {name: value for name, value in arguments.items() if value is not None}


def _dtype(spec: Unsloth, job: Job, inputs: Inputs) -> str | None:
    """Chooses the data type where the job leaves it open; None leaves it to the library."""
    if job.device == "cpu":
        # The library's choice depends on the machine, so that two nodes would train differently.
        return "float32" if inputs.model_dtype == "float16" else inputs.model_dtype
    if spec.hardware.precision == "bf16":
        return None
    # Gradients of float16 weights cannot be scaled.
    return "float16" if spec.training.adapts else "float32"


def _lora(spec: Unsloth) -> dict[str, Any]:
    lora = spec.training.lora or Lora()
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
        "bias": lora.bias,
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "init_lora_weights": _INITIAL.get(lora.init_lora_weights, lora.init_lora_weights),
        "random_state": lora.random_state,
        "use_gradient_checkpointing": _CHECKPOINTING[spec.training.use_gradient_checkpointing],
        "max_seq_length": spec.model.max_seq_length,
        **_given(
            modules_to_save=lora.modules_to_save,
            layers_to_transform=lora.layers_to_transform,
            layer_replication=lora.layer_replication,
        ),
    }


def _trainer(spec: Unsloth, job: Job, inputs: Inputs) -> dict[str, Any]:
    schedule, optimizer = spec.schedule, spec.optimizer
    steps = count_steps(spec.outline, inputs.training_samples, inputs.packing)
    micro_batch = spec.batch.per_device_train_batch_size
    on_gpu = job.device == "gpu"
    return {
        "output_dir": str(inputs.checkpoints),
        "max_steps": steps.total,
        "warmup_steps": steps.warmup,
        "lr_scheduler_type": schedule.lr_scheduler_type,
        **_given(lr_scheduler_kwargs=_scheduler(spec)),
        "seed": schedule.seed,
        "per_device_train_batch_size": inputs.packing.packs_per_micro_batch if inputs.packing else micro_batch,
        "gradient_accumulation_steps": gradient_accumulation_steps(spec.outline, inputs.packing),
        "learning_rate": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "optim": optimizer.optim,
        "adam_beta1": optimizer.adam_beta1,
        "adam_beta2": optimizer.adam_beta2,
        "adam_epsilon": optimizer.adam_epsilon,
        "max_grad_norm": optimizer.max_grad_norm or _NO_LIMIT,
        "label_smoothing_factor": optimizer.label_smoothing_factor,
        **_given(neftune_noise_alpha=optimizer.neftune_noise_alpha),
        "use_cpu": not on_gpu,
        "bf16": on_gpu and spec.hardware.precision == "bf16",
        "fp16": on_gpu and spec.hardware.precision == "fp16",
        "gradient_checkpointing": spec.training.use_gradient_checkpointing != "false",
        "max_length": spec.model.max_seq_length,
        # The samples are tokenized, cut, masked and packed already.
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "packing": False,
        # Every step is told; when to validate and to save is decided step by step.
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def _scheduler(spec: Unsloth) -> dict[str, Any] | None:
    options, kind = spec.schedule.lr_scheduler_kwargs, spec.schedule.lr_scheduler_type
    if options is None or options.num_cycles is None:
        return None
    return {"num_cycles": int(options.num_cycles) if kind == "cosine_with_restarts" else options.num_cycles}
