"""The real cluster, with the operator in it. Run below `.cluster/run`; `make test` does."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo import tickets
from tests.support import kubectl, storage

NAMESPACE = BUCKET = f"e2e-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
"""One for each process that runs tests."""
Job = dict[str, Any]


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with the models `tiny` and `smollm2` in Hugging Face layout (`python -m tests.models.make`)."""
    return Path(os.environ["CUSTOMIZER_TEST_MODELS"])


@pytest.fixture(scope="session", autouse=True)
def world(models: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A restricted namespace with credentials, and a bucket with models and data."""
    kubectl.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    kubectl.apply(storage.secret("s3-credentials", NAMESPACE))
    storage.make_bucket(BUCKET)
    for prefix in ("data/", "out/"):
        storage.remove(BUCKET, prefix)
    folder = tmp_path_factory.mktemp("data")
    training, held_out = tickets.write(folder, training=160, held_out=24)
    lines = training.read_text().splitlines(keepends=True)
    record = json.loads(lines[6])
    del record["completion"]
    broken = folder / "broken.jsonl"
    broken.write_text("".join([*lines[:6], json.dumps(record) + "\n", *lines[7:20]]))
    for path in (training, held_out, broken):
        storage.upload(path, BUCKET, f"data/{path.name}")
    for name in ("tiny", "smollm2"):
        storage.upload(models / name, BUCKET, f"models/{name}")


def build_job(
    name: str,
    *,
    model: str = "tiny",
    data: str = "training.jsonl",
    nodes: int = 1,
    steps: int = 6,
    finetuning_type: str = "lora",
    checkpoint_every: int = 5,
    secret: str = "s3-credentials",
) -> Job:
    """Builds a CustomizationJob that trains a small model on CPU."""
    training: dict[str, Any] = {"finetuningType": finetuning_type, "maxSeqLength": 256}
    if finetuning_type == "lora":
        training["lora"] = {"rank": 8, "alpha": 16}
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "CustomizationJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"s3": {"uri": f"s3://{BUCKET}/models/{model}"}},
            "dataset": {"training": {"s3": {"uri": f"s3://{BUCKET}/data/{data}"}}},
            "automodel": {
                # Many CPUs multiply 16-bit numbers far more slowly than 32-bit ones.
                "training": {"precision": "fp32", **training},
                "schedule": {"epochs": 100, "maxSteps": steps, "valCheckInterval": max(2, steps // 2)},
                "batch": {"globalBatchSize": 4 * nodes, "microBatchSize": 4},
                "optimizer": {"learningRate": 0.001},
                "parallelism": {"numNodes": nodes, "numGpusPerNode": 1},
            },
            "checkpoints": {"everySteps": checkpoint_every},
            "output": {"s3": {"uri": f"s3://{BUCKET}/out/{name}"}},
            "objectStorage": {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": secret}},
            "compute": {"device": "cpu", "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}},
        },
    }


@pytest.fixture
def start() -> Iterator[Callable[[Job], str]]:
    """Applies an object and returns its name; the object is deleted when the test ends."""
    started: list[Job] = []

    def run(job: Job) -> str:
        if job["kind"] == "CustomizationJob":
            # A test that is tried again must not find what its first try has left.
            for folder in ("/", ".work/"):
                storage.remove(BUCKET, f"out/{job['metadata']['name']}{folder}")
        kubectl.apply(job)
        started.append(job)
        return str(job["metadata"]["name"])

    yield run
    for job in started:
        kubectl.delete(job["kind"].lower(), job["metadata"]["name"], NAMESPACE)
