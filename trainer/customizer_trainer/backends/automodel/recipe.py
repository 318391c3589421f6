"""The job as a configuration of Automodel's fine-tuning recipe: a pure function."""

from pathlib import Path
from typing import Any

from customizer_contract.automodel import Automodel, Lora, Training
from customizer_contract.job import Job, ModelInput
from customizer_contract.packing import PackedTraining
from customizer_contract.steps import count_steps, data_parallel_size
from customizer_trainer.backends.automodel.mesh import build_distributed
from customizer_trainer.backends.backend import Inputs
from customizer_trainer.datasets.store import IGNORED

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp8": "bfloat16"}
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "auto": {"_target_": "torch.optim.Adam"},
    "Adam": {"_target_": "torch.optim.Adam"},
    "AdamW": {"_target_": "torch.optim.AdamW"},
    # Transformer Engine's, which the image does not hold, decays weights like AdamW.
    "FusedAdam": {"_target_": "torch.optim.AdamW", "fused": True},
}
_COLLATER = "nemo_automodel.components.datasets.utils.default_collater"
_LOADER = "torchdata.stateful_dataloader.StatefulDataLoader"
_DATASET = "customizer_trainer.backends.automodel.dataset.SamplesConfig"
_PACKS = "customizer_trainer.backends.automodel.packs.PacksConfig"
_PACK_COLLATER = "customizer_trainer.backends.automodel.packs.collate"

LM_HEAD = ["lm_head", "*.lm_head"]
"""Never adapted: of a model with tied embeddings, the adapter would change the embedding when merged."""
FINE_TUNING = "TrainFinetuneRecipeForNextTokenPrediction"
DISTILLATION = "KnowledgeDistillationRecipeForNextTokenPrediction"
COLLECTIVE_TIMEOUT_MINUTES = 30
"""How long a rank waits for the others, e.g. while one of them writes a large checkpoint."""


def build_recipe(job: Job, inputs: Inputs) -> dict[str, Any]:
    """Builds the configuration of the library's recipe."""
    spec = _settings(job)
    training, optimizer = spec.training, spec.optimizer
    packing = inputs.packing
    steps = count_steps(spec.outline, inputs.training_samples, packing)
    batch = packing.packs_per_step if packing else spec.batch.global_batch_size
    dtype = _DTYPES[training.precision] if training.precision else inputs.model_dtype
    recipe: dict[str, Any] = {
        "recipe": DISTILLATION if training.distills else FINE_TUNING,
        "seed": spec.schedule.seed,
        "step_scheduler": {
            "global_batch_size": batch,
            "local_batch_size": packing.packs_per_micro_batch if packing else spec.batch.micro_batch_size,
            "num_epochs": spec.schedule.epochs,
            "max_steps": steps.total,
            "val_every_steps": steps.validate_every,
            "ckpt_every_steps": job.checkpoints.every_steps or steps.validate_every,
            "save_checkpoint_every_epoch": False,
            "validate_on_checkpoint": False,
        },
        # Ours, not the library's (`schedule.Clock`).
        "save_every_seconds": job.checkpoints.every_minutes * 60,
        "dist_env": {
            "backend": "nccl" if job.device == "gpu" else "gloo",
            "timeout_minutes": COLLECTIVE_TIMEOUT_MINUTES,
        },
        "model": _model(inputs.model, job.model, dtype, training.attn_implementation, spec),
        "distributed": build_distributed(job, spec.parallelism, dtype),
        "checkpoint": {
            "enabled": True,
            "checkpoint_dir": str(inputs.checkpoints),
            "model_save_format": "safetensors",
            # Weights are put together when they are published, from all nodes' parts: there is no shared disk.
            "save_consolidated": False,
            "v4_compatible": True,
            **({"restore_from": str(inputs.resume)} if inputs.resume else {}),
        },
        "loss_fn": {"_target_": "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"},
        "clip_grad_norm": {"max_norm": 1.0},
        # Padded to whole batches, so that no rank loses a sample and every rank count sees the same order.
        "dataset": _dataset(inputs.samples, "training", batch) if packing is None else _packs(inputs.samples, packing),
        "validation_dataset": _dataset(inputs.samples, "validation", data_parallel_size(spec.outline)),
        "packed_sequence": _packed_sequence(packing, spec.training),
        "dataloader": {"_target_": _LOADER, "collate_fn": _collater(packing, spec.training), "shuffle": True},
        "validation_dataloader": {"_target_": _LOADER, "collate_fn": _COLLATER, "shuffle": False},
        "optimizer": {
            **_OPTIMIZERS[optimizer.optimizer],
            "lr": optimizer.learning_rate,
            "betas": [optimizer.adam_beta1, optimizer.adam_beta2],
            "eps": optimizer.adam_eps,
            "weight_decay": optimizer.weight_decay,
        },
        # The library's own defaults differ: it warms up from a tenth of the rate, and decays to a hundredth.
        "lr_scheduler": {
            "lr_decay_style": optimizer.lr_decay_style,
            "lr_warmup_steps": steps.warmup,
            "init_lr": 0.0,
            "min_lr": optimizer.min_learning_rate or 0.0,
        },
    }
    if training.adapts:
        recipe["peft"] = _peft(training.lora or Lora(), job)
    if training.precision == "fp8":
        recipe["fp8"] = {"enabled": True, "recipe_name": "tensorwise"}
    if job.teacher is not None and inputs.teacher is not None:
        recipe.update(
            {
                "teacher_model": _model(inputs.teacher, job.teacher, _DTYPES[training.teacher_precision], "sdpa", spec),
                "kd_ratio": training.distillation_ratio,
                "kd_loss_fn": {
                    "_target_": "nemo_automodel.components.loss.kd_loss.KDLoss",
                    "ignore_index": IGNORED,
                    "temperature": training.distillation_temperature,
                    "fp32_upcast": True,
                },
                "offload_teacher_model": training.offload_teacher,
            }
        )
    return recipe


def _model(folder: Path, model: ModelInput, dtype: str, attention: str, spec: Automodel) -> dict[str, Any]:
    return {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
        "pretrained_model_name_or_path": str(folder),
        "torch_dtype": dtype,
        "trust_remote_code": model.trust_remote_code,
        "attn_implementation": attention,
        # The library's own classes share a sample's tokens only with Transformer Engine.
        **({"force_hf": True} if spec.parallelism.context_parallel_size > 1 else {}),
    }


def _settings(job: Job) -> Automodel:
    if job.automodel is None:
        raise ValueError("the job names another backend")
    return job.automodel


def _peft(lora: Lora, job: Job) -> dict[str, Any]:
    peft: dict[str, Any] = {
        "_target_": "nemo_automodel.components._peft.lora.PeftConfig",
        "dim": lora.rank,
        "alpha": lora.alpha,
        "dropout": lora.dropout,
        # The kernels need a GPU; the library itself passes over them for shapes that they cannot do.
        "use_triton": job.device == "gpu" if lora.use_triton is None else lora.use_triton,
    }
    if lora.exclude_modules:
        peft["exclude_modules"] = [*_patterns(lora.exclude_modules), *LM_HEAD]
    else:
        peft["target_modules"] = _patterns(lora.target_modules or ["*_proj"])
    return peft


def _patterns(modules: list[str]) -> list[str]:
    """Returns names such as q_proj as patterns, too: the library compares all with the layers' full names."""
    return [pattern for name in modules for pattern in ([name] if "*" in name else [name, f"*.{name}"])]


def _dataset(samples: Path, name: str, multiple_of: int) -> dict[str, Any]:
    return {"_target_": _DATASET, "folder": str(samples), "name": name, "multiple_of": multiple_of}


def _packs(samples: Path, packing: PackedTraining) -> dict[str, Any]:
    return {**_dataset(samples, "training", packing.packs_per_step), "_target_": _PACKS, "size": packing.size}


def _packed_sequence(packing: PackedTraining | None, training: Training) -> dict[str, Any]:
    if packing is None or training.attn_implementation != "flash_attention_2":
        # The dataset's packs bring their own mask; told of them, the library would want Flash Attention.
        return {"packed_sequence_size": 0}
    return {"packed_sequence_size": packing.size, "packing_strategy": "neat", "prepacked": True}


def _collater(packing: PackedTraining | None, training: Training) -> str | dict[str, Any]:
    if packing is None:
        return _COLLATER
    return {"_target_": _PACK_COLLATER, "masks": training.attn_implementation != "flash_attention_2"}
