"""What tests of both backends do with pods, and how they judge what was published."""

import json
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.artifact import Manifest
from customizer_contract.job import Job
from customizer_contract.model_config import find_text_config, parse_dtype, parse_shape
from customizer_contract.transfers import estimate_uploads
from customizer_trainer.datasets.store import read_indices
from customizer_trainer.storage.digest import file_digest
from customizer_trainer.storage.tensor_files import read_header
from tests.support.ports import free_port
from tests.train.conftest import chats, client
from tests.train.harness import Pod, Running, Storage


def fetch(*pods: Pod) -> None:
    for running in [pod.start("fetch") for pod in pods]:
        outcome = running.wait()
        assert outcome.code == 0, outcome.log


def train(pod: Pod, attempt: int = 1) -> Running:
    return pod.start("train", "--attempt", str(attempt), "--progress-port", str(free_port()))


def download(storage: Storage, uri: str, folder: Path) -> Manifest:
    """Downloads an artifact and checks each file against its manifest."""
    s3, prefix = client(storage), uri.removeprefix("s3://tests/")
    manifest = Manifest.model_validate_json(s3.get_object(Bucket="tests", Key=f"{prefix}/manifest.json")["Body"].read())
    for file in manifest.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("tests", f"{prefix}/{file.path}", str(folder / file.path))
        assert file_digest(folder / file.path) == file.sha256
    return manifest


def adapted_layers(folder: Path) -> set[str]:
    """Returns what an adapter adapts by its weights, such as 0.mlp.up_proj."""
    names = read_header(folder / "adapter_model.safetensors")
    return {name.split(".lora_")[0].partition(".layers.")[2] for name in names}


def count_samples(pod: Pod) -> tuple[int, int]:
    """Returns how many samples are trained and validated on."""
    samples = pod.disk / "workspace" / "samples"
    training, validation = (len(read_indices(samples / f"{name}.npy")) for name in ("training", "validation"))
    return training, validation


def check_uploads(storage: Storage, job: Job, model: Path, step: int, *, beside: int) -> None:
    """Compares what a training has left in S3 with what the plan expects of it: a checkpoint, and the weights.

    `beside` is what a checkpoint may hold that is no number of the model: settings, random states, the tokenizer.
    """
    document = json.loads((model / "config.json").read_text())
    shape, dtype = parse_shape(find_text_config(document)), parse_dtype(document)
    settings = job.automodel or job.unsloth
    assert shape is not None
    assert dtype is not None
    assert settings is not None
    planned = estimate_uploads(shape, dtype, settings, device="cpu")
    checkpoint = measure(storage, f"{job.work_uri}/checkpoints/step-{step:08d}-a1/")
    weights = {key: size for key, size in measure(storage, f"{job.artifact_uri}/").items() if ".safetensors" in key}
    assert 0 < sum(checkpoint.values()) - planned.checkpoint_bytes < beside, checkpoint
    assert sum(weights.values()) == pytest.approx(planned.artifact_bytes, rel=0.1), weights


def measure(storage: Storage, prefix: str) -> dict[str, int]:
    """Returns the bytes of every object below a prefix."""
    found = client(storage).list_objects_v2(Bucket="tests", Prefix=prefix.removeprefix("s3://tests/"))
    return {entry["Key"]: entry["Size"] for entry in found["Contents"]}


def mean_loss(model: Any, tokenizer: Any, storage: Storage) -> float:
    """Computes the mean loss of the completions' tokens of the validation data, independently of the trainer."""
    import torch

    body = client(storage).get_object(Bucket="tests", Key="data/pairs/validation.jsonl")["Body"].read().decode()
    total, count = 0.0, 0
    for record in map(json.loads, body.splitlines()):
        prompt = tokenizer(record["prompt"])["input_ids"]
        completion = [*tokenizer(record["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        tokens = torch.tensor([prompt + completion])
        labels = torch.tensor([[-100] * len(prompt) + completion])
        with torch.no_grad():
            total += float(model(input_ids=tokens, labels=labels).loss) * len(completion)
        count += len(completion)
    return total / count


def chat_loss(model: Any, tokenizer: Any) -> float:
    """Computes the loss over whole conversations; only good for comparing two models."""
    import torch

    total = 0.0
    for record in map(json.loads, chats(8)):
        text = tokenizer.apply_chat_template(record["messages"], tokenize=False)
        tokens = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        labels = tokens.clone()
        labels[0, :-6] = -100
        with torch.no_grad():
            total += float(model(input_ids=tokens, labels=labels).loss)
    return total / 8


def checkpoint_exists(storage: Storage, job: Job, step: int, attempt: int) -> bool:
    """Tells whether a checkpoint is complete."""
    marker = f"{job.work_uri}/checkpoints/step-{step:08d}-a{attempt}/COMPLETE.json".removeprefix("s3://tests/")
    return client(storage).list_objects_v2(Bucket="tests", Prefix=marker)["KeyCount"] > 0
