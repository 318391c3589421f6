"""What a job made, served by the real engine."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.demo import ask
from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import kubectl, storage

Start = Callable[[Job], str]
KIND = "modeldeployment"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"
WEIGHTS = "adapter_model.safetensors"
IN_FLIGHT = 50


def build_deployment(name: str, model: dict[str, Any], runtime: dict[str, Any], **spec: Any) -> Job:
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": model, "runtime": runtime, **spec},
    }


def wait_until_ready(name: str, generation: int = 1) -> dict[str, Any]:
    """Waits for a deployment to serve this generation of its spec; returns its status."""

    def is_ready(md: dict[str, Any]) -> bool:
        return md.get("status", {}).get("observedGeneration") == generation and kubectl.is_true(md, "Ready")

    return dict(kubectl.wait_until(KIND, name, NAMESPACE, is_ready, timeout=600)["status"])


@contextmanager
def load(url: str, models: list[str]) -> Iterator[list[str | None]]:
    """Keeps requests in flight to all models; what comes of each is noted: None, or the error."""
    outcomes: list[str | None] = []
    over = threading.Event()

    def keep_asking(model: str) -> None:
        while not over.is_set():
            try:
                ask.complete(url, model, PROMPT, max_tokens=1, timeout=300)
                outcomes.append(None)
            except OSError as error:
                outcomes.append(f"{model}: {error}")

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        asking = [pool.submit(keep_asking, models[number % len(models)]) for number in range(IN_FLIGHT)]
        try:
            yield outcomes
        finally:
            over.set()
    for future in asking:
        future.result()


def test_full_weights_are_served_by_a_nim(start: Start) -> None:
    deployment = start(
        build_deployment("weights", {"customizationJobRef": {"name": "for-weights"}}, {"type": "MultiLLM"})
    )
    waiting = kubectl.wait_until(
        KIND, deployment, NAMESPACE, lambda md: md.get("status", {}).get("message"), timeout=60
    )
    assert "for-weights" in waiting["status"]["message"]
    start(build_job("for-weights", model="smollm2", finetuning_type="all_weights", steps=3))
    status = wait_until_ready(deployment)
    (model,) = status["models"]
    assert model["kind"] == "model"
    assert ask.complete(status["url"], model["name"], PROMPT)


@pytest.fixture(scope="module")
def adapter() -> Iterator[str]:
    """Publishes an adapter; returns its address."""
    job = build_job("for-adapter", model="smollm2", steps=3)
    kubectl.apply(job)
    kubectl.wait_until(
        "customizationjob", "for-adapter", NAMESPACE, lambda cj: kubectl.is_true(cj, "Complete"), timeout=600
    )
    yield str(job["spec"]["output"]["s3"]["uri"])
    kubectl.delete("customizationjob", "for-adapter", NAMESPACE)


def test_a_change_of_the_server_fails_no_request(start: Start, adapter: str) -> None:
    """From vLLM to a NIM that finds the adapter in NIM_PEFT_SOURCE, two replicas, with fifty requests in flight."""
    model = {"customizationJobRef": {"name": "for-adapter"}}
    deployment = build_deployment("adapter", model, {"type": "VLLM"}, replicas=2)
    name = start(deployment)
    before = wait_until_ready(name)
    assert sorted(model["kind"] for model in before["models"]) == ["adapter", "base"]
    names = [model["name"] for model in before["models"]]
    with load(before["url"], names) as outcomes:
        changed = {**deployment, "spec": {**deployment["spec"], "runtime": {"type": "MultiLLM"}}}
        kubectl.apply(changed)
        after = wait_until_ready(name, generation=2)
    assert [error for error in outcomes if error is not None] == []
    assert len(outcomes) >= IN_FLIGHT
    assert after["models"] == before["models"]
    for served in names:
        assert ask.complete(after["url"], served, PROMPT)


def test_a_file_that_was_changed_in_the_store_is_never_served(start: Start, adapter: str) -> None:
    prefix = f"out/{adapter.rpartition('/')[2]}/"
    for key in storage.sizes(BUCKET, prefix):
        content = storage.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
        if key.endswith(WEIGHTS):
            content = content[:-1] + bytes([content[-1] ^ 1])
        storage.client().put_object(Bucket=BUCKET, Key=key.replace(prefix, "out/changed/"), Body=content)
    access = {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}}
    model = {"artifact": {"uri": f"s3://{BUCKET}/out/changed"}}
    name = start(build_deployment("changed", model, {"type": "VLLM", "device": "cpu"}, objectStorage=access))
    refused = kubectl.wait_until(KIND, name, NAMESPACE, lambda md: kubectl.is_true(md, "Stalled"), timeout=300)
    condition = next(entry for entry in refused["status"]["conditions"] if entry["type"] == "Stalled")
    assert condition["reason"] == "ArtifactInvalid"
    assert WEIGHTS in condition["message"]
    assert not kubectl.is_true(refused, "Available")
