"""No more is lost than lies between two checkpoints, whatever happens to the object store."""

import time
from pathlib import Path

import pytest

from customizer_contract.job import Job
from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import checkpoint_exists, download, fetch, train
from tests.train.storage_server import StorageServer

STEPS = 4
AWAY_SECONDS = 120
"""Longer than all tries of a single request together; other tests run meanwhile."""


def job(storage: Storage, name: str) -> Job:
    return build_job(
        storage,
        name,
        data="s3://tests/data/pairs",
        checkpoint_minutes=0.0001,
        teacher={"source": {"kind": "s3", "uri": "s3://tests/models/tiny"}},
        training={"trainingType": "distillation", "finetuningType": "lora_merged", "maxSeqLength": 64},
        schedule={"maxSteps": STEPS},
        batch={"globalBatchSize": 8, "microBatchSize": 4},
        optimizer={"learningRate": 0.01},
        parallelism={"numGpusPerNode": 2},
    )


def test_a_checkpoint_is_due_when_the_time_is_over_and_waits_for_a_store_that_is_away(
    storage_server: StorageServer, storage: Storage, model: Path, tmp_path: Path
) -> None:
    asked = job(storage, "away")
    pod = Pod(tmp_path, asked, storage)
    fetch(pod)
    running = train(pod)
    running.until(lambda: checkpoint_exists(storage, asked, 1, attempt=1))
    storage_server.stop()
    stopped = time.monotonic()
    try:
        # The training goes on meanwhile, to its end, and saves as before.
        running.until(lambda: sorted(pod.saved(1)) == list(range(1, STEPS + 1)))
        running.until(lambda: time.monotonic() - stopped > AWAY_SECONDS)
    finally:
        storage_server.start()
    assert "trying again to upload" in running.log.read_text()
    outcome = running.wait()
    assert outcome.code == 0, outcome.log
    assert sorted(pod.saved(1)) == list(range(1, STEPS + 1))
    assert outcome.result.training.checkpoint_step == STEPS
    assert checkpoint_exists(storage, asked, STEPS, attempt=1)
    check_merged(storage, asked, pod, model, tmp_path / "artifact")


def check_merged(storage: Storage, asked: Job, pod: Pod, model: Path, folder: Path) -> None:
    """What was published is the base with the adapter added, as PEFT would add it, and says whom it learned from."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    manifest = download(storage, asked.artifact_uri, folder)
    assert (manifest.type, manifest.adapter) == ("model", None)
    assert manifest.teacher == manifest.base_model
    metrics = manifest.metrics
    assert metrics["reloaded_loss"] == pytest.approx(metrics["validation_answer_loss"], rel=1e-3)
    assert metrics["validation_loss"] < metrics["validation_answer_loss"]
    base = AutoModelForCausalLM.from_pretrained(model)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapter = pod.saved(1)[STEPS].folder / "model"
    expected = PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    published = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert published.keys() == expected.keys()
    assert all(torch.allclose(published[name], expected[name], atol=1e-6) for name in expected)
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(published[layer], before[layer])
