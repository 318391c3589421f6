"""What Unsloth and TRL are given: one golden set of arguments in full, then every field of the job by its effect."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.job import Job
from customizer_contract.packing import PackedTraining
from customizer_contract.unsloth import TARGET_MODULES, Unsloth
from customizer_trainer.backends.backend import Inputs
from customizer_trainer.backends.unsloth.packing import find_obstacle
from customizer_trainer.backends.unsloth.settings import (
    build_environment,
    build_settings,
    warn_of_device,
    warn_of_serving,
)
from customizer_trainer.model import parse_config
from tests.unit.trainer import conftest
from tests.unit.trainer.backends import fields

INPUTS = Inputs(
    model=Path("/workspace/model"),
    model_dtype="bfloat16",
    samples=Path("/workspace/samples"),
    training_samples=100,
    packing=None,
    checkpoints=Path("/workspace/attempt-1/checkpoints"),
    resume=None,
)

GOLDEN = {
    "model": {
        "model_name": "/workspace/model",
        "max_seq_length": 2048,
        "dtype": None,
        "load_in_4bit": True,
        "load_in_8bit": False,
        "full_finetuning": False,
        "trust_remote_code": False,
        "use_gradient_checkpointing": "unsloth",
        "device_map": {"": 0},
    },
    "lora": {
        "r": 16,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "target_modules": list(TARGET_MODULES),
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "random_state": 3407,
        "use_gradient_checkpointing": "unsloth",
        "max_seq_length": 2048,
    },
    "trainer": {
        "output_dir": "/workspace/attempt-1/checkpoints",
        "max_steps": 100,
        "warmup_steps": 0,
        "lr_scheduler_type": "linear",
        "seed": 3407,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 2e-4,
        "weight_decay": 0.0,
        "optim": "adamw_8bit",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "label_smoothing_factor": 0.0,
        "use_cpu": False,
        "bf16": True,
        "fp16": False,
        "gradient_checkpointing": True,
        "max_length": 2048,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "packing": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    },
    "samples": "/workspace/samples",
    "pack_size": None,
    "resume": None,
    "validate_every": 100,
    "save_every": 100,
    "save_every_seconds": 1800.0,
}

SIXTEEN_BITS = {"model": {"loadIn4bit": False}}
ALL_WEIGHTS = {**SIXTEEN_BITS, "training": {"finetuningType": "all_weights"}}
LLAMA3 = {
    "ropeType": "llama3",
    "factor": 8,
    "originalMaxPositionEmbeddings": 4096,
    "lowFreqFactor": 1.5,
    "highFreqFactor": 3.5,
}
CYCLES = {"schedule": {"lrSchedulerType": "cosine", "lrSchedulerKwargs": {"numCycles": 2.5}}}
RESTARTS = {"schedule": {"lrSchedulerType": "cosine_with_restarts", "lrSchedulerKwargs": {"numCycles": 3.0}}}


def rope(**fields: Any) -> dict[str, Any]:
    return {"model": {"ropeScaling": fields}}


def lora(**fields: Any) -> dict[str, Any]:
    return {"training": {"lora": fields}}


EFFECTS: fields.Effects = {
    "model.maxSeqLength": [
        ({"model": {"maxSeqLength": 64}}, "model.max_seq_length", 64),
        ({"model": {"maxSeqLength": 64}}, "lora.max_seq_length", 64),
        ({"model": {"maxSeqLength": 64}}, "trainer.max_length", 64),
    ],
    "model.loadIn4bit": [(SIXTEEN_BITS, "model.load_in_4bit", False)],
    "model.loadIn8bit": [({"model": {"loadIn4bit": False, "loadIn8bit": True}}, "model.load_in_8bit", True)],
    "model.dtype": [({"model": {"dtype": "float32"}}, "model.dtype", "float32")],
    "model.ropeScaling.ropeType": [
        (rope(ropeType="linear", factor=2), "model.rope_scaling", {"rope_type": "linear", "factor": 2.0}),
    ],
    "model.ropeScaling.factor": [
        (rope(ropeType="yarn", factor=4), "model.rope_scaling.factor", 4.0),
        (rope(ropeType="yarn", factor=4), "outline.rope.factor", 4.0),
    ],
    "model.ropeScaling.originalMaxPositionEmbeddings": [
        (rope(**LLAMA3), "model.rope_scaling.original_max_position_embeddings", 4096)
    ],
    "model.ropeScaling.lowFreqFactor": [(rope(**LLAMA3), "model.rope_scaling.low_freq_factor", 1.5)],
    "model.ropeScaling.highFreqFactor": [(rope(**LLAMA3), "model.rope_scaling.high_freq_factor", 3.5)],
    "dataset.packing": [({"dataset": {"packing": True}}, "outline.packs", True)],
    "training.finetuningType": [(ALL_WEIGHTS, "model.full_finetuning", True), (ALL_WEIGHTS, "lora", None)],
    "training.lora.rank": [({"training": {"lora": {"rank": 8}}}, "lora.r", 8)],
    "training.lora.alpha": [({"training": {"lora": {"alpha": 8}}}, "lora.lora_alpha", 8)],
    "training.lora.dropout": [({"training": {"lora": {"dropout": 0.1}}}, "lora.lora_dropout", 0.1)],
    "training.lora.targetModules": [
        ({"training": {"lora": {"targetModules": ["q_proj"]}}}, "lora.target_modules", ["q_proj"])
    ],
    "training.lora.useRslora": [({"training": {"lora": {"useRslora": True}}}, "lora.use_rslora", True)],
    "training.lora.useDora": [(lora(useDora=True), "lora.use_dora", True)],
    "training.lora.bias": [(lora(bias="lora_only"), "lora.bias", "lora_only")],
    "training.lora.modulesToSave": [(lora(modulesToSave=["lm_head"]), "lora.modules_to_save", ["lm_head"])],
    "training.lora.layersToTransform": [(lora(layersToTransform=[0, 3]), "lora.layers_to_transform", [0, 3])],
    "training.lora.layerReplication": [
        (lora(layerReplication=[[0, 4], [2, 5]]), "lora.layer_replication", [[0, 4], [2, 5]])
    ],
    "training.lora.initLoraWeights": [
        (lora(initLoraWeights="false"), "lora.init_lora_weights", False),
        (lora(initLoraWeights="pissa"), "lora.init_lora_weights", "pissa"),
    ],
    "training.lora.randomState": [({"training": {"lora": {"randomState": 7}}}, "lora.random_state", 7)],
    "training.useGradientCheckpointing": [
        ({"training": {"useGradientCheckpointing": "true"}}, "lora.use_gradient_checkpointing", True),
        ({"training": {"useGradientCheckpointing": "false"}}, "model.use_gradient_checkpointing", False),
        ({"training": {"useGradientCheckpointing": "false"}}, "trainer.gradient_checkpointing", False),
    ],
    "schedule.epochs": [
        ({"schedule": {"epochs": 3}}, "trainer.max_steps", 300),
        ({"schedule": {"epochs": 3}}, "validate_every", 100),
    ],
    "schedule.maxSteps": [
        ({"schedule": {"maxSteps": 5}}, "trainer.max_steps", 5),
        ({"schedule": {"maxSteps": 5}}, "validate_every", 5),
        ({"schedule": {"maxSteps": 500}}, "trainer.max_steps", 500),
    ],
    "schedule.warmupSteps": [
        ({"schedule": {"warmupSteps": 5}}, "trainer.warmup_steps", 5),
        ({"schedule": {"warmupSteps": 999}}, "trainer.warmup_steps", 99),
    ],
    "schedule.warmupRatio": [({"schedule": {"warmupRatio": 0.1, "epochs": 2}}, "trainer.warmup_steps", 20)],
    "schedule.lrSchedulerType": [({"schedule": {"lrSchedulerType": "cosine"}}, "trainer.lr_scheduler_type", "cosine")],
    "schedule.lrSchedulerKwargs.numCycles": [
        (CYCLES, "trainer.lr_scheduler_kwargs", {"num_cycles": 2.5}),
        (RESTARTS, "trainer.lr_scheduler_kwargs", {"num_cycles": 3}),
    ],
    # Its effect is on what trackers are told (tests of `tracking`).
    "schedule.loggingSteps": [({"schedule": {"loggingSteps": 10}}, "outline.log_every_steps", 10)],
    "schedule.evalSteps": [
        ({"schedule": {"evalSteps": 1}}, "validate_every", 1),
        ({"schedule": {"evalSteps": 7}}, "save_every", 7),
    ],
    # Its effect is on the samples, like that of the seed on them (tests of `inputs`).
    "schedule.validationSplit": [({"schedule": {"validationSplit": 0.5}}, "outline.validation_split", 0.5)],
    "schedule.seed": [
        ({"schedule": {"seed": 7}}, "trainer.seed", 7),
        ({"schedule": {"seed": 7}}, "outline.seed", 7),
    ],
    "batch.perDeviceTrainBatchSize": [
        ({"batch": {"perDeviceTrainBatchSize": 4}}, "trainer.per_device_train_batch_size", 4),
        ({"batch": {"perDeviceTrainBatchSize": 4}}, "trainer.max_steps", 25),
    ],
    "batch.gradientAccumulationSteps": [
        ({"batch": {"gradientAccumulationSteps": 8}}, "trainer.gradient_accumulation_steps", 8),
        ({"batch": {"gradientAccumulationSteps": 8}}, "trainer.max_steps", 13),
    ],
    "optimizer.learningRate": [({"optimizer": {"learningRate": 0.1}}, "trainer.learning_rate", 0.1)],
    "optimizer.weightDecay": [({"optimizer": {"weightDecay": 0.2}}, "trainer.weight_decay", 0.2)],
    "optimizer.optim": [({"optimizer": {"optim": "sgd"}}, "trainer.optim", "sgd")],
    "optimizer.adamBeta1": [({"optimizer": {"adamBeta1": 0.8}}, "trainer.adam_beta1", 0.8)],
    "optimizer.adamBeta2": [({"optimizer": {"adamBeta2": 0.95}}, "trainer.adam_beta2", 0.95)],
    "optimizer.adamEpsilon": [({"optimizer": {"adamEpsilon": 1e-6}}, "trainer.adam_epsilon", 1e-6)],
    "optimizer.maxGradNorm": [
        ({"optimizer": {"maxGradNorm": 0.5}}, "trainer.max_grad_norm", 0.5),
        ({"optimizer": {"maxGradNorm": 0}}, "trainer.max_grad_norm", 1e30),
    ],
    "optimizer.labelSmoothingFactor": [
        ({"optimizer": {"labelSmoothingFactor": 0.1}}, "trainer.label_smoothing_factor", 0.1)
    ],
    "optimizer.neftuneNoiseAlpha": [({"optimizer": {"neftuneNoiseAlpha": 5}}, "trainer.neftune_noise_alpha", 5.0)],
    "hardware.precision": [
        ({"hardware": {"precision": "fp16"}}, "trainer.fp16", True),
        ({"hardware": {"precision": "fp16"}}, "trainer.bf16", False),
        ({"hardware": {"precision": "fp16"}}, "model.dtype", "float16"),
        ({**ALL_WEIGHTS, "hardware": {"precision": "fp16"}}, "model.dtype", "float32"),
    ],
}
OF_THE_ARTIFACT = {"output.saveMethod"}
"""Tested in test_unsloth_artifact."""
CASES = [pytest.param(*case, id=f"{field} {case[1]}") for field, cases in EFFECTS.items() for case in cases]


def build_job(unsloth: dict[str, Any] | None = None, **changes: Any) -> Job:
    return conftest.build_job(automodel=None, unsloth=unsloth or {}, **changes)


def find(job: Job, inputs: Inputs, path: str) -> Any:
    return fields.find({**build_settings(job, inputs), "outline": job.outline}, path)


def test_the_defaults_give_these_arguments() -> None:
    assert build_settings(build_job(), INPUTS) == GOLDEN


def test_every_field_has_a_case() -> None:
    assert set(EFFECTS) | OF_THE_ARTIFACT == set(fields.leaves(Unsloth))
    assert all(fields.names(case[0], field) for field, cases in EFFECTS.items() for case in cases)


@pytest.mark.parametrize(("unsloth", "path", "expected"), CASES)
def test_each_field_has_its_effect(unsloth: dict[str, Any], path: str, expected: object) -> None:
    assert find(build_job(unsloth), INPUTS, path) == expected


def test_what_a_cpu_cannot_do_is_substituted_openly() -> None:
    asked = {
        "model": {"loadIn4bit": False, "loadIn8bit": True, "dtype": "float16"},
        "optimizer": {"optim": "paged_adamw_8bit"},
        "hardware": {"precision": "fp16"},
    }
    assert warn_of_device(build_job(asked)) == []
    job = build_job(asked, device="cpu")
    assert warn_of_device(job) == [
        "loadIn8bit needs a GPU: weights are not quantized.",
        "dtype float16 needs a GPU: that of the checkpoint is used.",
        "optim paged_adamw_8bit needs a GPU: adamw_torch_fused is used.",
        "precision fp16 needs a GPU: that of the weights is used.",
    ]
    assert find(job, INPUTS, "model.load_in_8bit") is False
    assert find(job, INPUTS, "model.dtype") == "bfloat16"
    assert find(job, INPUTS, "trainer.optim") == "adamw_torch_fused"
    assert (find(job, INPUTS, "trainer.fp16"), find(job, INPUTS, "trainer.bf16")) == (False, False)


@pytest.mark.parametrize(("checkpoint", "used"), [("bfloat16",) * 2, ("float32",) * 2, ("float16", "float32")])
def test_on_a_cpu_the_data_type_does_not_depend_on_the_machine(checkpoint: str, used: str) -> None:
    assert find(build_job(device="cpu"), replace(INPUTS, model_dtype=checkpoint), "model.dtype") == used


def test_a_batch_is_counted_in_packs() -> None:
    packing = PackedTraining(size=512, packs=30, packs_per_step=6, packs_per_micro_batch=2)
    job, inputs = build_job({"dataset": {"packing": True}}), replace(INPUTS, packing=packing)
    assert find(job, inputs, "pack_size") == 512
    assert find(job, inputs, "trainer.per_device_train_batch_size") == 2
    assert find(job, inputs, "trainer.gradient_accumulation_steps") == 3
    assert find(job, inputs, "trainer.max_steps") == 5


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({}, None),
        ({"model_type": "qwen3"}, None),
        ({"sliding_window": 4096}, None),
        ({"sliding_window": 1024}, "attention sees 1024 tokens only"),
        ({"model_type": "mamba2"}, "not known to keep samples apart"),
    ],
)
def test_what_cannot_keep_samples_apart_is_not_packed(changes: dict[str, Any], obstacle: str | None) -> None:
    model = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **changes}
    found = find_obstacle(build_job({"dataset": {"packing": True}}), parse_config(model))
    assert found is None if obstacle is None else obstacle in str(found)


def test_the_restarts_of_a_schedule_are_counted_in_whole_numbers() -> None:
    assert type(find(build_job(RESTARTS), INPUTS, "trainer.lr_scheduler_kwargs.num_cycles")) is int


@pytest.mark.parametrize(
    ("unsloth", "warned"),
    [
        ({}, []),
        (lora(useDora=True), ["vLLM does not serve an adapter with useDora"]),
        (lora(bias="all"), ["vLLM does not serve an adapter with bias"]),
        (
            lora(modulesToSave=["norm"], layerReplication=[[0, 2], [1, 2]]),
            [
                "vLLM does not serve an adapter with modulesToSave",
                "vLLM does not serve an adapter with layerReplication",
            ],
        ),
        ({**lora(useDora=True), "output": {"saveMethod": "merged_16bit"}}, []),
        (rope(ropeType="linear", factor=2), ["An adapter does not carry model.ropeScaling"]),
        ({**ALL_WEIGHTS, "model": {"loadIn4bit": False, **rope(ropeType="linear", factor=2)["model"]}}, []),
    ],
)
def test_what_servers_will_not_take_is_told_before_it_is_trained(unsloth: dict[str, Any], warned: list[str]) -> None:
    warnings = warn_of_serving(build_job(unsloth))
    assert [warning.partition(":")[0] for warning in warnings] == warned


def test_the_library_neither_installs_anything_nor_changes_the_device() -> None:
    assert build_environment("gpu", "/s") == {
        "UNSLOTH_AUTO_INSTALL": "0",
        "UNSLOTH_DISABLE_CPU_FALLBACK": "1",
        "UNSLOTH_COMPILE_LOCATION": "/s/compiled",
        "HF_HOME": "/s/hub",
    }
    assert build_environment("cpu", "/s")["UNSLOTH_FORCE_CPU"] == "1"


def test_a_checkpoint_to_go_on_from_is_named_and_none_is_ever_guessed() -> None:
    assert find(build_job(), replace(INPUTS, resume=Path("/r/step-1")), "resume") == "/r/step-1"
    assert find(build_job(), INPUTS, "resume") is None


def test_checkpoints_may_be_saved_more_often_than_validated() -> None:
    job = build_job(checkpoints={"everySteps": 2})
    assert (find(job, INPUTS, "save_every"), find(job, INPUTS, "validate_every")) == (2, 100)
