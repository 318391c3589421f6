"""Losses do not depend on how the work is spread, and what is published is what was trained."""

import json
import urllib.request
from pathlib import Path

import pytest

from customizer_contract.artifact import Manifest
from customizer_contract.errors import Reason
from customizer_contract.logs import LogEntry
from customizer_contract.progress import Progress
from customizer_trainer.storage.digest import file_digest
from tests.support.ports import free_port
from tests.train.conftest import client
from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import chat_loss, check_uploads, download, fetch, mean_loss, train
from tests.train.sft import STEPS, Trained, sft_job, train_unbroken


@pytest.fixture(scope="module")
def unbroken(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All weights, one process, from the first step to the last."""
    return train_unbroken(storage, "unbroken", tmp_path_factory.mktemp("unbroken"))


def test_a_finished_training_says_what_it_reached_and_published(unbroken: Trained) -> None:
    training, artifact = unbroken.outcome.result.training, unbroken.outcome.result.artifact
    assert training is not None
    assert artifact is not None
    assert (training.step, training.total_steps, training.checkpoint_step) == (STEPS, STEPS, STEPS)
    assert training.resumed_from_step is None
    assert artifact.type == "model"
    assert sorted(unbroken.losses) == list(range(1, STEPS + 1))
    assert unbroken.losses[STEPS] < unbroken.losses[1] - 2


def test_a_full_model_is_published_complete_and_loads(storage: Storage, unbroken: Trained, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    manifest = download(storage, "s3://tests/out/unbroken", tmp_path / "artifact")
    assert manifest.metrics["reloaded_loss"] == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)
    assert {"config.json", "tokenizer.json"} <= {file.path for file in manifest.files}
    assert manifest.metrics["validation_loss"] == pytest.approx(unbroken.outcome.result.training.validation_loss)
    model, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "artifact", output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "artifact")
    assert mean_loss(model, tokenizer, storage) == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)


def test_what_is_uploaded_is_what_was_planned(storage: Storage, unbroken: Trained, lora: Trained, model: Path) -> None:
    # The library keeps 22 kB of settings beside the moments of each tensor, of which there are 20 and 28.
    check_uploads(storage, unbroken.pod.job, model, STEPS, beside=20 * 30_000)
    check_uploads(storage, lora.pod.job, model, step=12, beside=28 * 30_000)


def test_one_machine_does_a_job_of_two_nodes_from_folders_with_the_losses_of_one_process(
    storage: Storage, model: Path, unbroken: Trained, tmp_path: Path
) -> None:
    job = sft_job(storage, "alone", nodes=2)
    for name in ("train", "validation"):
        client(storage).download_file("tests", f"data/pairs/{name}.jsonl", str(tmp_path / f"{name}.jsonl"))
    paths = {"model": model, "training": tmp_path / "train.jsonl", "validation": tmp_path / "validation.jsonl"}
    options = [
        word for name, path in {**paths, "output": tmp_path / "out"}.items() for word in (f"--{name}", str(path))
    ]
    secret = "a-token-that-nobody-may-see"
    # No store can be reached, nor is one needed.
    pod = Pod(tmp_path / "disk", job, Storage("http://127.0.0.1:9", "none", "none"), {"HF_TOKEN": secret})
    outcome = pod.run("run", *options)
    assert outcome.code == 0, outcome.log
    assert pod.losses(1) == pytest.approx(unbroken.losses, rel=1e-4)
    assert outcome.result.artifact.uri == f"file://{tmp_path / 'out'}"
    manifest = Manifest.model_validate_json((tmp_path / "out" / "manifest.json").read_text())
    assert all(file_digest(tmp_path / "out" / file.path) == file.sha256 for file in manifest.files)
    assert manifest.metrics["validation_loss"] == pytest.approx(unbroken.outcome.result.training.validation_loss)
    # People read lines; what the ranks say of each step is kept as entries.
    assert f"Training: step {STEPS}/{STEPS}" in outcome.log
    assert "{" not in outcome.log
    (log,) = (tmp_path / "disk").glob("workspace/*/log.jsonl")
    entries = [LogEntry.model_validate_json(line) for line in log.read_text().splitlines()]
    assert {entry.rank for entry in entries} >= {None, 0}
    assert {entry.step for entry in entries if entry.rank == 0} >= {1, STEPS}
    assert secret not in log.read_text()


@pytest.fixture(scope="module")
def lora(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An adapter from chat data, validated on a share of them, by two processes of one node."""
    job = build_job(
        storage,
        "lora",
        data="s3://tests/data/chat/train.jsonl",
        checkpoint_every=2,
        training={"lora": {"rank": 8}, "maxSeqLength": 128},
        schedule={"epochs": 2, "valCheckInterval": 0.5, "checkpointSelection": "both"},
        batch={"globalBatchSize": 8, "microBatchSize": 4},
        optimizer={"learningRate": 0.01, "optimizer": "FusedAdam"},
        parallelism={"numGpusPerNode": 2},
    )
    pod = Pod(tmp_path_factory.mktemp("lora"), job, storage)
    fetch(pod)
    port = free_port()
    running = pod.start("train", "--attempt", "1", "--progress-port", str(port))
    seen: list[Progress] = []

    def is_training() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
                seen.append(Progress.model_validate_json(answer.read()))
        except OSError:
            return False
        return seen[-1].step > 0

    running.until(is_training)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        (pod.disk / "metrics").write_bytes(answer.read())
    (pod.disk / "progress").write_text(seen[-1].to_json())
    outcome = running.wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def test_progress_and_metrics_are_served_while_it_trains(lora: Trained) -> None:
    progress = Progress.model_validate_json((lora.pod.disk / "progress").read_text())
    assert progress.phase in {"Training", "Validating", "Checkpointing"}
    assert progress.total_steps == lora.outcome.result.training.total_steps
    metrics = (lora.pod.disk / "metrics").read_text().splitlines()
    values = {name: float(value) for name, value in (line.split() for line in metrics if not line.startswith("#"))}
    known = "step", "train_loss", "gradient_norm", "tokens_total", "data_wait_seconds_total", "memory_bytes"
    assert all(values[f"customizer_training_{name}"] > 0 for name in known), values


def test_every_line_of_the_log_is_an_entry_that_says_where_the_training_was(lora: Trained, storage: Storage) -> None:
    entries = [LogEntry.model_validate_json(line) for line in lora.outcome.log.splitlines()]
    assert {entry.rank for entry in entries} >= {None, 0}
    assert {entry.attempt for entry in entries if entry.rank is not None} == {1}
    assert storage.secret_key not in lora.outcome.log


def test_checkpoints_are_saved_when_validated_and_every_so_often_in_between(lora: Trained) -> None:
    saved = lora.pod.saved(1)
    assert sorted(saved) == [2, 3, 4, 6, 8, 9, 10, 12]
    assert sorted(step for step, event in saved.items() if event.validation_loss is not None) == [3, 6, 9, 12]


def test_only_checkpoints_that_may_be_needed_are_kept(storage: Storage, lora: Trained) -> None:
    prefix = "out/lora.work/uid-of-lora/checkpoints/"
    keys = [entry["Key"] for entry in client(storage).list_objects_v2(Bucket="tests", Prefix=prefix)["Contents"]]
    best = min(lora.pod.validations(1).values(), key=lambda event: event.loss).step
    assert {int(key.removeprefix(prefix)[5:13]) for key in keys} == {best, 10, 12}


def test_the_best_checkpoint_is_published_and_the_last_one_beside_it(
    storage: Storage, lora: Trained, tmp_path: Path
) -> None:
    validated = lora.pod.validations(1)
    assert sorted(validated) == [3, 6, 9, 12]
    manifest = download(storage, "s3://tests/out/lora", tmp_path / "adapter")
    assert manifest.step == min(validated, key=lambda step: validated[step].loss)
    assert manifest.metrics["validation_loss"] == validated[manifest.step].loss
    (last,) = manifest.alternates
    assert (last.path, last.step) == ("alternates/last", 12)
    assert last.metrics["validation_loss"] == validated[12].loss
    assert last.metrics["reloaded_loss"] == pytest.approx(validated[12].loss, rel=0.05)
    weights = {file.path: file.sha256 for file in manifest.files if file.path.endswith("adapter_model.safetensors")}
    assert len(weights) == 2
    assert len(set(weights.values())) == (1 if manifest.step == 12 else 2)


def test_an_adapter_loads_with_peft_and_lowers_the_loss(
    storage: Storage, lora: Trained, model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    manifest = download(storage, "s3://tests/out/lora", tmp_path / "adapter")
    assert manifest.type == "adapter"
    assert manifest.prompt_format == "chat"
    assert manifest.adapter.rank == 8
    assert manifest.adapter.target_modules == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"
    ]  # fmt: skip
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "s3://tests/models/tiny"
    tokenizer = AutoTokenizer.from_pretrained(model)
    base = AutoModelForCausalLM.from_pretrained(model)
    before = chat_loss(base, tokenizer)
    tuned = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert chat_loss(tuned, tokenizer) < before - 0.1


def test_a_published_job_is_not_trained_again(storage: Storage, lora: Trained, tmp_path: Path) -> None:
    again = Pod(tmp_path / "again", lora.pod.job, storage).run("train", "--attempt", "2")
    assert again.code == 0, again.log
    assert again.result.artifact == lora.outcome.result.artifact


def test_a_second_fetch_downloads_nothing(lora: Trained) -> None:
    outcome = lora.pod.run("fetch")
    assert outcome.code == 0
    downloads = [line for line in outcome.log.splitlines() if "downloading" in line and "/checkpoints/" not in line]
    assert downloads == []


def test_a_loss_that_is_not_finite_ends_the_attempt_for_good(storage: Storage, tmp_path: Path) -> None:
    job = build_job(
        storage,
        "diverged",
        data="s3://tests/data/pairs",
        training={"finetuningType": "all_weights", "maxSeqLength": 64},
        batch={"globalBatchSize": 8, "microBatchSize": 8},
        optimizer={"learningRate": 1e30},
    )
    pod = Pod(tmp_path, job, storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 65, outcome.log
    assert outcome.result.error.reason == Reason.TRAINING_DIVERGED


def test_a_job_that_asks_for_gpus_never_trains_on_a_cpu(storage: Storage, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    pod = Pod(tmp_path, build_job(storage, "gpu", data="s3://tests/data/pairs", device="gpu"), storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 1
    assert outcome.result.error.reason == Reason.DEVICE_UNAVAILABLE
