"""What Automodel is given: one golden recipe in full, then each field of the job by its effect."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.automodel import Automodel
from customizer_contract.job import Job
from customizer_contract.packing import PackedTraining
from customizer_trainer.backends.automodel.packing import find_obstacle
from customizer_trainer.backends.automodel.recipe import build_recipe
from customizer_trainer.backends.backend import Inputs
from customizer_trainer.model import ModelConfig, parse_config
from tests.unit.trainer.backends.fields import Effects, find, leaves, names
from tests.unit.trainer.conftest import build_job

INPUTS = Inputs(
    model=Path("/workspace/model"),
    model_dtype="bfloat16",
    samples=Path("/workspace/samples"),
    training_samples=100,
    packing=None,
    checkpoints=Path("/workspace/attempt-1/checkpoints"),
    resume=None,
)

GOLDEN: dict[str, Any] = {
    "recipe": "TrainFinetuneRecipeForNextTokenPrediction",
    "seed": 1111,
    "step_scheduler": {
        "global_batch_size": 8,
        "local_batch_size": 1,
        "num_epochs": 1,
        "max_steps": 13,
        "val_every_steps": 13,
        "ckpt_every_steps": 13,
        "save_checkpoint_every_epoch": False,
        "validate_on_checkpoint": False,
    },
    "save_every_seconds": 1800.0,
    "dist_env": {"backend": "nccl", "timeout_minutes": 30},
    "model": {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
        "pretrained_model_name_or_path": "/workspace/model",
        "torch_dtype": "bfloat16",
        "trust_remote_code": False,
        "attn_implementation": "sdpa",
    },
    "distributed": {
        "strategy": "fsdp2",
        "dp_size": "none",
        "dp_replicate_size": 1,
        "tp_size": 1,
        "cp_size": 1,
        "pp_size": 1,
        "ep_size": 1,
        "sequence_parallel": False,
        "mp_policy": {
            "_target_": "torch.distributed.fsdp.MixedPrecisionPolicy",
            "param_dtype": "bfloat16",
            "reduce_dtype": "float32",
            "cast_forward_inputs": False,
        },
    },
    "checkpoint": {
        "enabled": True,
        "checkpoint_dir": "/workspace/attempt-1/checkpoints",
        "model_save_format": "safetensors",
        "save_consolidated": False,
        "v4_compatible": True,
    },
    "loss_fn": {"_target_": "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"},
    "clip_grad_norm": {"max_norm": 1.0},
    "dataset": {
        "_target_": "customizer_trainer.backends.automodel.dataset.SamplesConfig",
        "folder": "/workspace/samples",
        "name": "training",
        "multiple_of": 8,
    },
    "validation_dataset": {
        "_target_": "customizer_trainer.backends.automodel.dataset.SamplesConfig",
        "folder": "/workspace/samples",
        "name": "validation",
        "multiple_of": 1,
    },
    "packed_sequence": {"packed_sequence_size": 0},
    "dataloader": {
        "_target_": "torchdata.stateful_dataloader.StatefulDataLoader",
        "collate_fn": "nemo_automodel.components.datasets.utils.default_collater",
        "shuffle": True,
    },
    "validation_dataloader": {
        "_target_": "torchdata.stateful_dataloader.StatefulDataLoader",
        "collate_fn": "nemo_automodel.components.datasets.utils.default_collater",
        "shuffle": False,
    },
    "optimizer": {
        "_target_": "torch.optim.Adam",
        "lr": 5e-6,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.01,
    },
    "lr_scheduler": {"lr_decay_style": "cosine", "lr_warmup_steps": 0, "init_lr": 0.0, "min_lr": 0.0},
    "peft": {
        "_target_": "nemo_automodel.components._peft.lora.PeftConfig",
        "dim": 16,
        "alpha": 32,
        "dropout": 0.0,
        "use_triton": True,
        "target_modules": ["*_proj"],
    },
}


def test_the_defaults_give_this_recipe() -> None:
    assert build_recipe(build_job(), INPUTS) == GOLDEN


ALL_WEIGHTS = {"training": {"finetuningType": "all_weights"}}
TEACHER = {"source": {"kind": "s3", "uri": "s3://bucket/teacher"}, "trustRemoteCode": True}
TWO = {"numGpusPerNode": 2}
PIPELINE = {"parallelism": TWO | {"pipelineParallelSize": 2}, "batch": {"microBatchSize": 2}}


def distillation(**training: Any) -> dict[str, Any]:
    return {"training": {"trainingType": "distillation", **training}}


EFFECTS: Effects = {
    "training.trainingType": [
        (distillation(), "recipe", "KnowledgeDistillationRecipeForNextTokenPrediction"),
        (
            distillation(),
            "teacher_model",
            {
                "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
                "pretrained_model_name_or_path": "/workspace/teacher",
                "torch_dtype": "bfloat16",
                "trust_remote_code": True,
                "attn_implementation": "sdpa",
            },
        ),
    ],
    "training.distillationRatio": [(distillation(distillationRatio=0.9), "kd_ratio", 0.9)],
    "training.distillationTemperature": [
        (distillation(distillationTemperature=2), "kd_loss_fn.temperature", 2),
    ],
    "training.teacherPrecision": [(distillation(teacherPrecision="fp32"), "teacher_model.torch_dtype", "float32")],
    "training.offloadTeacher": [(distillation(offloadTeacher=True), "offload_teacher_model", True)],
    "training.finetuningType": [
        (ALL_WEIGHTS, "peft", None),
        ({"training": {"finetuningType": "lora_merged"}}, "merges", True),
    ],
    "training.lora.merge": [({"training": {"lora": {"merge": True}}}, "merges", True)],
    "training.lora.useTriton": [({"training": {"lora": {"useTriton": False}}}, "peft.use_triton", False)],
    "training.lora.rank": [({"training": {"lora": {"rank": 8}}}, "peft.dim", 8)],
    "training.lora.alpha": [({"training": {"lora": {"alpha": 8}}}, "peft.alpha", 8)],
    "training.lora.dropout": [({"training": {"lora": {"dropout": 0.1}}}, "peft.dropout", 0.1)],
    "training.lora.targetModules": [
        (
            {"training": {"lora": {"targetModules": ["q_proj", "*.up_proj"]}}},
            "peft.target_modules",
            ["q_proj", "*.q_proj", "*.up_proj"],
        )
    ],
    "training.lora.excludeModules": [
        # lm_head is never adapted.
        (
            {"training": {"lora": {"excludeModules": ["*gate*"]}}},
            "peft.exclude_modules",
            ["*gate*", "lm_head", "*.lm_head"],
        ),
        ({"training": {"lora": {"excludeModules": ["a"]}}}, "peft.target_modules", None),
    ],
    "training.maxSeqLength": [({"training": {"maxSeqLength": 64}}, "outline.max_seq_length", 64)],
    "training.precision": [
        ({"training": {"precision": "fp32"}}, "model.torch_dtype", "float32"),
        ({"training": {"precision": "fp32"}}, "distributed.mp_policy.param_dtype", "float32"),
        ({"training": {"precision": "fp16"}}, "distributed.mp_policy.param_dtype", "float16"),
        (
            {"training": {"precision": "fp8", "finetuningType": "all_weights"}},
            "fp8",
            {"enabled": True, "recipe_name": "tensorwise"},
        ),
    ],
    "training.attnImplementation": [
        ({"training": {"attnImplementation": "eager"}}, "model.attn_implementation", "eager")
    ],
    "schedule.epochs": [
        ({"schedule": {"epochs": 3}}, "step_scheduler.num_epochs", 3),
        ({"schedule": {"epochs": 3}}, "step_scheduler.max_steps", 39),
    ],
    "schedule.maxSteps": [({"schedule": {"maxSteps": 5}}, "step_scheduler.max_steps", 5)],
    "schedule.valCheckInterval": [
        ({"schedule": {"valCheckInterval": 0.5}}, "step_scheduler.val_every_steps", 6),
        ({"schedule": {"valCheckInterval": 4}}, "step_scheduler.val_every_steps", 4),
        ({"schedule": {"valCheckInterval": 4}}, "step_scheduler.ckpt_every_steps", 4),
    ],
    "schedule.validationSplit": [({"schedule": {"validationSplit": 0.5}}, "outline.validation_split", 0.5)],
    "schedule.checkpointSelection": [
        ({"schedule": {"checkpointSelection": "last"}}, "outline.selection", "last"),
        ({"schedule": {"checkpointSelection": "both"}}, "outline.selection", "both"),
    ],
    "schedule.seed": [
        ({"schedule": {"seed": 7}}, "seed", 7),
        ({"schedule": {"seed": 7}}, "outline.seed", 7),
    ],
    "batch.globalBatchSize": [
        ({"batch": {"globalBatchSize": 16}}, "step_scheduler.global_batch_size", 16),
        ({"batch": {"globalBatchSize": 16}}, "dataset.multiple_of", 16),
    ],
    "batch.microBatchSize": [({"batch": {"microBatchSize": 4}}, "step_scheduler.local_batch_size", 4)],
    # Its effect is on the samples, and by them on the recipe (below).
    "batch.sequencePacking": [({"batch": {"sequencePacking": True}}, "outline.packs", True)],
    "optimizer.optimizer": [
        ({"optimizer": {"optimizer": "AdamW"}}, "optimizer._target_", "torch.optim.AdamW"),
        ({"optimizer": {"optimizer": "FusedAdam"}}, "optimizer._target_", "torch.optim.AdamW"),
        ({"optimizer": {"optimizer": "FusedAdam"}}, "optimizer.fused", True),
    ],
    "optimizer.learningRate": [({"optimizer": {"learningRate": 0.1}}, "optimizer.lr", 0.1)],
    "optimizer.minLearningRate": [({"optimizer": {"minLearningRate": 0.01}}, "lr_scheduler.min_lr", 0.01)],
    "optimizer.weightDecay": [({"optimizer": {"weightDecay": 0.2}}, "optimizer.weight_decay", 0.2)],
    "optimizer.adamBeta1": [({"optimizer": {"adamBeta1": 0.8}}, "optimizer.betas", [0.8, 0.999])],
    "optimizer.adamBeta2": [({"optimizer": {"adamBeta2": 0.95}}, "optimizer.betas", [0.9, 0.95])],
    "optimizer.adamEps": [({"optimizer": {"adamEps": 1e-6}}, "optimizer.eps", 1e-6)],
    "optimizer.warmupSteps": [
        ({"optimizer": {"warmupSteps": 5}}, "lr_scheduler.lr_warmup_steps", 5),
        # It ends before the training does.
        ({"optimizer": {"warmupSteps": 99}}, "lr_scheduler.lr_warmup_steps", 12),
    ],
    "optimizer.lrDecayStyle": [({"optimizer": {"lrDecayStyle": "linear"}}, "lr_scheduler.lr_decay_style", "linear")],
    "parallelism.numNodes": [({"parallelism": {"numNodes": 2}}, "validation_dataset.multiple_of", 2)],
    "parallelism.numGpusPerNode": [
        ({"parallelism": {"numGpusPerNode": 4}}, "validation_dataset.multiple_of", 4),
        ({"parallelism": {"numGpusPerNode": 4}}, "outline.processes", 4),
    ],
    "parallelism.tensorParallelSize": [
        ({"parallelism": TWO | {"tensorParallelSize": 2}}, "distributed.tp_size", 2),
    ],
    "parallelism.pipelineParallelSize": [
        (PIPELINE, "distributed.pp_size", 2),
        (
            PIPELINE,
            "distributed.pipeline",
            {"pp_schedule": "1f1b", "pp_microbatch_size": 1, "scale_grads_in_schedule": False},
        ),
    ],
    "parallelism.contextParallelSize": [
        ({"parallelism": TWO | {"contextParallelSize": 2}}, "distributed.cp_size", 2),
    ],
    "parallelism.expertParallelSize": [({"parallelism": TWO | {"expertParallelSize": 2}}, "distributed.ep_size", 2)],
    "parallelism.dataParallelReplicateSize": [
        ({"parallelism": TWO | {"dataParallelReplicateSize": 2}}, "distributed.dp_replicate_size", 2),
    ],
    "parallelism.sequenceParallel": [
        (
            {"parallelism": TWO | {"tensorParallelSize": 2, "sequenceParallel": True}},
            "distributed.sequence_parallel",
            True,
        ),
    ],
}
CASES = [pytest.param(*case, id=f"{field} {case[1]}") for field, cases in EFFECTS.items() for case in cases]


def test_every_field_has_a_case_that_names_it() -> None:
    assert set(EFFECTS) == set(leaves(Automodel))
    assert all(names(case[0], field) for field, cases in EFFECTS.items() for case in cases)


@pytest.mark.parametrize(("automodel", "path", "expected"), CASES)
def test_each_field_has_its_effect(automodel: dict[str, Any], path: str, expected: object) -> None:
    teacher = TEACHER if find(automodel, "training.trainingType") == "distillation" else None
    assert find(_given(build_job(automodel=automodel, teacher=teacher)), path) == expected
    assert find(_given(build_job()), path) != expected


def _given(job: Job) -> dict[str, Any]:
    assert job.automodel is not None
    inputs = replace(INPUTS, teacher=Path("/workspace/teacher") if job.teacher else None)
    return {**build_recipe(job, inputs), "outline": job.outline, "merges": job.automodel.training.merges}


def test_checkpoints_may_be_saved_more_often_than_validated() -> None:
    recipe = build_recipe(build_job(checkpoints={"everySteps": 2}), INPUTS)
    assert recipe["step_scheduler"]["ckpt_every_steps"] == 2
    assert recipe["step_scheduler"]["val_every_steps"] == 13


def test_on_a_cpu_replicas_exchange_gradients_over_gloo_without_gpu_kernels() -> None:
    recipe = build_recipe(build_job(device="cpu"), INPUTS)
    assert recipe["distributed"] == {"strategy": "ddp"}
    assert recipe["dist_env"]["backend"] == "gloo"
    assert recipe["peft"]["use_triton"] is False


def test_a_checkpoint_to_go_on_from_is_named_and_none_is_ever_guessed() -> None:
    resumed = replace(INPUTS, resume=Path("/r/step-1"))
    assert build_recipe(build_job(), resumed)["checkpoint"]["restore_from"] == "/r/step-1"
    assert "restore_from" not in build_recipe(build_job(), INPUTS)["checkpoint"]


PACKING = PackedTraining(size=512, packs=30, packs_per_step=4, packs_per_micro_batch=2)


def test_packs_are_batched_in_their_own_numbers_with_a_mask_that_keeps_samples_apart() -> None:
    recipe = build_recipe(build_job(), replace(INPUTS, packing=PACKING))
    assert find(recipe, "step_scheduler.global_batch_size") == 4
    assert find(recipe, "step_scheduler.local_batch_size") == 2
    assert find(recipe, "step_scheduler.max_steps") == 8
    assert recipe["dataset"] == {
        "_target_": "customizer_trainer.backends.automodel.packs.PacksConfig",
        "folder": "/workspace/samples",
        "name": "training",
        "multiple_of": 4,
        "size": 512,
    }
    assert recipe["dataloader"]["collate_fn"] == {
        "_target_": "customizer_trainer.backends.automodel.packs.collate",
        "masks": True,
    }
    assert recipe["packed_sequence"] == {"packed_sequence_size": 0}
    assert recipe["validation_dataset"] == GOLDEN["validation_dataset"]


def test_flash_attention_is_told_the_boundaries_of_packed_samples() -> None:
    """Needs a GPU to run; here only what the library is given."""
    job = build_job(automodel={"training": {"attnImplementation": "flash_attention_2"}})
    recipe = build_recipe(job, replace(INPUTS, packing=PACKING))
    assert recipe["packed_sequence"] == {
        "packed_sequence_size": 512,
        "packing_strategy": "neat",
        "prepacked": True,
    }
    assert recipe["dataloader"]["collate_fn"]["masks"] is False


CONFIG = parse_config({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})


@pytest.mark.parametrize(
    ("automodel", "config", "why"),
    [
        pytest.param({}, CONFIG, None, id="a llama"),
        pytest.param(
            {}, replace(CONFIG, model_type="mamba"), "not known to keep samples apart", id="a recurrent model"
        ),
        pytest.param({}, replace(CONFIG, sliding_window=512), "sees 512 tokens only", id="a window"),
        pytest.param({}, replace(CONFIG, sliding_window=4096), None, id="a window longer than all samples"),
        pytest.param({"training": {"attnImplementation": "eager"}}, CONFIG, "use sdpa", id="eager attention"),
        pytest.param(
            {"parallelism": TWO | {"contextParallelSize": 2}}, CONFIG, "contextParallelSize", id="context parallel"
        ),
    ],
)
def test_what_cannot_keep_samples_apart_is_not_packed(
    automodel: dict[str, Any], config: ModelConfig, why: str | None
) -> None:
    found = find_obstacle(build_job(automodel=automodel), config)
    assert found is None if why is None else why in (found or "")
