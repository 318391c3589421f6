"""Unsloth's image does in a pod what its tests do without one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import kubectl, storage

SMALL: dict[str, Any] = {
    "training": {"lora": {"rank": 8}},
    "schedule": {"maxSteps": 6, "evalSteps": 3},
    "batch": {"perDeviceTrainBatchSize": 4},
    "optimizer": {"learningRate": 0.01},
}


def unsloth_job(name: str, **blocks: Any) -> Job:
    job = build_job(name)
    del job["spec"]["automodel"]
    job["spec"]["unsloth"] = {**SMALL, **blocks}
    return job


def finish(name: str) -> Job:
    """Waits for the end of a job and returns its status."""
    done = kubectl.wait_until(
        "customizationjob", name, NAMESPACE, lambda job: kubectl.is_true(job, "Complete"), timeout=300
    )
    assert kubectl.is_true(done, "Published")
    return Job(done["status"])


def read_manifest(name: str) -> dict[str, Any]:
    body = storage.client().get_object(Bucket=BUCKET, Key=f"out/{name}/manifest.json")["Body"].read()
    return dict(json.loads(body))


def test_an_adapter_beside_4_bit_weights_is_trained_and_published(start: Callable[[Job], str]) -> None:
    name = start(unsloth_job("unsloth", model={"maxSeqLength": 256}))
    status = finish(name)
    assert status["progress"]["step"] == status["plan"]["totalSteps"] == 6
    # What a CPU cannot do is said.
    assert "optim adamw_8bit needs a GPU: adamw_torch_fused is used." in status["warnings"]
    manifest = read_manifest(name)
    assert (manifest["type"], manifest["adapter"]["rank"]) == ("adapter", 8)
    assert manifest["packages"]["unsloth"]


def test_packed_samples_become_a_merged_model(start: Callable[[Job], str]) -> None:
    model = {"maxSeqLength": 512, "loadIn4bit": False}
    job = unsloth_job("unsloth-merged", model=model, dataset={"packing": True}, output={"saveMethod": "merged_16bit"})
    name = start(job)
    status = finish(name)
    packed = status["dataset"]["packed"]
    assert packed["packs"] < status["dataset"]["training"]["samples"] / 2
    assert status["progress"]["step"] == status["plan"]["totalSteps"] == 6
    manifest = read_manifest(name)
    assert manifest["type"] == "model"
    assert manifest["metrics"]["reloaded_loss"] == pytest.approx(manifest["metrics"]["validation_loss"], rel=0.05)
    paths = {file["path"] for file in manifest["files"]}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= paths
