"""A training of Unsloth in which many fields have another value than their default, each seen in what comes out."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from customizer_contract.artifact import AdapterReference
from tests.train.conftest import client, put_table
from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import adapted_layers, count_samples, download, fetch, train
from tests.train.sft import Trained

LONGEST = 2**-10
FIELDS: dict[str, Any] = {
    "model": {"maxSeqLength": 64, "loadIn4bit": False, "ropeScaling": {"ropeType": "yarn", "factor": 4}},
    "training": {
        "lora": {
            "rank": 4,
            "alpha": 8,
            "dropout": 0.25,
            "targetModules": ["q_proj", "up_proj"],
            "useRslora": True,
            "bias": "lora_only",
            "layerReplication": [[0, 2], [1, 2]],
            "randomState": 5,
        },
        "useGradientCheckpointing": "false",
    },
    "schedule": {
        "epochs": 1,
        "warmupRatio": 0.25,
        "lrSchedulerType": "constant_with_warmup",
        "validationSplit": 0.25,
        "seed": 7,
    },
    "batch": {"perDeviceTrainBatchSize": 3, "gradientAccumulationSteps": 2},
    "optimizer": {"optim": "sgd", "learningRate": 0.5, "maxGradNorm": LONGEST},
}
STEPS = 8
"""48 of 64 records are trained, 6 a step."""


@pytest.fixture(scope="module")
def trained(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished training."""
    put_table(storage, "data/unsloth-table/train.parquet", 64)
    data, template = "s3://tests/data/unsloth-table/train.parquet", "{question} {answer}"
    job = build_job(
        storage, "unsloth-fields", data=data, template=template, backend="unsloth", checkpoint_every=1, **FIELDS
    )
    pod = Pod(tmp_path_factory.mktemp("fields"), job, storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def read_saved(storage: Storage, step: int, name: str) -> bytes:
    """Downloads a file of a checkpoint."""
    prefix = f"out/unsloth-fields.work/uid-of-unsloth-fields/checkpoints/step-{step:08d}-a1/"
    entries = client(storage).list_objects_v2(Bucket="tests", Prefix=prefix)["Contents"]
    (key,) = [entry["Key"] for entry in entries if entry["Key"].endswith(f"/{name}")]
    return bytes(client(storage).get_object(Bucket="tests", Key=key)["Body"].read())


def test_samples_are_made_of_columns_and_split_as_asked(trained: Trained) -> None:
    assert count_samples(trained.pod) == (48, 16)


def test_the_learning_rate_takes_its_course(trained: Trained) -> None:
    rates = {step: event.learning_rate for step, event in trained.pod.steps(1).items()}
    assert rates == pytest.approx({1: 0.0, 2: 0.25, **dict.fromkeys(range(3, STEPS + 1), 0.5)})


def test_a_long_gradient_is_shortened(trained: Trained, storage: Storage) -> None:
    assert trained.pod.steps(1)[STEPS].gradient_norm > LONGEST
    before, after = (load(read_saved(storage, step, "adapter_model.safetensors")) for step in (STEPS - 1, STEPS))
    moved = math.sqrt(sum(float(((after[name] - before[name]) ** 2).sum()) for name in after))
    # SGD moves the weights by the gradient times the learning rate.
    assert moved == pytest.approx(0.5 * LONGEST, rel=1e-3)


def test_the_optimizer_is_the_one_that_was_asked_for(trained: Trained, storage: Storage) -> None:
    import torch

    state = torch.load(io.BytesIO(read_saved(storage, STEPS, "optimizer.pt")), weights_only=True)
    for group in state["param_groups"]:
        assert "betas" not in group
        assert (group["momentum"], group["nesterov"], group["lr"]) == (0, False, 0.5)


def test_the_adapter_says_how_it_was_made(trained: Trained, storage: Storage, tmp_path: Path) -> None:
    manifest = download(storage, "s3://tests/out/unsloth-fields", tmp_path)
    assert manifest.prompt_template == "{question} {answer}"
    assert manifest.adapter == AdapterReference(rank=4, alpha=8, target_modules=["q_proj", "up_proj"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    lora = FIELDS["training"]["lora"]
    assert config["use_rslora"] is True
    assert config["lora_dropout"] == lora["dropout"]
    assert config["bias"] == lora["bias"]
    assert config["layer_replication"] == lora["layerReplication"]
    assert adapted_layers(tmp_path) == {
        f"{layer}.{module}" for layer in range(3) for module in ("self_attn.q_proj", "mlp.up_proj")
    }
    # Loaded again with peft, which obeys this configuration.
    assert manifest.metrics["reloaded_loss"] == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)
