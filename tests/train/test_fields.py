"""A training of Automodel in which many fields have another value than their default, each seen in what comes out."""

import json
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.artifact import AdapterReference
from tests.train.conftest import put_table
from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import adapted_layers, count_samples, download, fetch, train
from tests.train.sft import Trained

FIELDS: dict[str, Any] = {
    "training": {
        "lora": {"rank": 4, "alpha": 12, "dropout": 0.25, "targetModules": ["q_proj", "*.layers.1.mlp.up_proj"]},
        "maxSeqLength": 96,
        "attnImplementation": "eager",
    },
    "schedule": {"epochs": 2, "valCheckInterval": 4, "validationSplit": 0.25, "seed": 7},
    "batch": {"globalBatchSize": 8, "microBatchSize": 2},
    "optimizer": {
        "optimizer": "AdamW",
        "learningRate": 0.02,
        "minLearningRate": 0.005,
        "weightDecay": 0.125,
        "adamBeta1": 0.75,
        "adamBeta2": 0.875,
        "adamEps": 1e-6,
        "warmupSteps": 2,
        "lrDecayStyle": "linear",
    },
    "parallelism": {"numGpusPerNode": 2},
}
STEPS, WARMUP, MATRICES = 12, 2, 3
"""48 of 64 records are trained, twice, 8 a step."""


@pytest.fixture(scope="module")
def trained(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished training."""
    put_table(storage, "data/table/train.parquet", 64)
    data, template = "s3://tests/data/table/train.parquet", "{question} {answer}"
    job = build_job(storage, "fields", data=data, template=template, **FIELDS)
    pod = Pod(tmp_path_factory.mktemp("fields"), job, storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def test_samples_are_made_of_columns_and_split_as_asked(trained: Trained) -> None:
    assert count_samples(trained.pod) == (48, 16)


def test_the_learning_rate_takes_its_course(trained: Trained) -> None:
    rates = {step: event.learning_rate for step, event in trained.pod.steps(1).items()}
    assert sorted(rates) == list(range(1, STEPS + 1))
    # Told of a step is the rate of the next one.
    decay = {step: 0.02 - 0.015 * (step - WARMUP) / (STEPS - WARMUP) for step in range(WARMUP, STEPS + 1)}
    assert rates == pytest.approx({1: 0.01, **decay})
    assert sorted(trained.pod.validations(1)) == [4, 8, 12]


def test_the_optimizer_works_with_the_numbers_that_were_asked_for(trained: Trained, tmp_path: Path) -> None:
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(trained.pod.saved(1)[STEPS].folder / "optim", tmp_path / "optimizer.pt")
    state = torch.load(tmp_path / "optimizer.pt", weights_only=False)["optim"]
    groups = {name: value for name, value in state.items() if name.startswith("param_groups.")}
    for field, asked in {"betas": (0.75, 0.875), "eps": 1e-6, "weight_decay": 0.125}.items():
        found = [value for name, value in groups.items() if name.endswith(f".{field}")]
        assert len(found) == 2 * MATRICES
        assert set(map(repr, found)) == {repr(asked)}, field
    assert {value for name, value in groups.items() if name.endswith(".decoupled_weight_decay")} == {True}


def test_the_modules_that_were_named_are_adapted(trained: Trained, storage: Storage, tmp_path: Path) -> None:
    manifest = download(storage, "s3://tests/out/fields", tmp_path)
    assert manifest.adapter is not None
    assert manifest.adapter == AdapterReference(rank=4, alpha=12, target_modules=["q_proj", "up_proj"])
    assert manifest.prompt_template == "{question} {answer}"
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 12)
    assert adapted_layers(tmp_path) == {"0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj"}
    assert manifest.metrics["reloaded_loss"] == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)
