"""What a job made, served by the real engine."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.demo import ask
from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import adapters, kubectl, storage

Start = Callable[[Job], str]
KIND = "modeldeployment"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"
IN_FLIGHT = 50


def build_deployment(name: str, **spec: Any) -> Job:
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
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
    model = {"customizationJobRef": {"name": "for-weights"}}
    deployment = start(build_deployment("weights", model=model, runtime={"type": "MultiLLM"}))
    waiting = kubectl.wait_until(
        KIND, deployment, NAMESPACE, lambda md: md.get("status", {}).get("message"), timeout=60
    )
    assert "for-weights" in waiting["status"]["message"]
    start(build_job("for-weights", model="smollm2", finetuning_type="all_weights", steps=3))
    status = wait_until_ready(deployment)
    (served,) = status["models"]
    assert served["kind"] == "model"
    assert ask.complete(status["url"], served["name"], PROMPT)


def artifact_of(models: Path, name: str) -> dict[str, Any]:
    """Publishes an adapter of smollm2 and returns what serves it, without the server."""
    base = f"s3://{BUCKET}/models/smollm2"
    uri = adapters.publish(BUCKET, f"out/{name}", name=name, base=models / "smollm2", base_uri=base)
    access = {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}}
    return {"model": {"artifact": {"uri": uri}}, "objectStorage": access}


def test_a_change_of_the_server_fails_no_request(start: Start, models: Path) -> None:
    """From vLLM to a NIM that finds the adapter in NIM_PEFT_SOURCE, two replicas, with fifty requests in flight."""
    settings = artifact_of(models, "adapter")
    deployment = build_deployment("adapter", runtime={"type": "VLLM", "device": "cpu"}, replicas=2, **settings)
    name = start(deployment)
    before = wait_until_ready(name)
    assert [model["kind"] for model in before["models"]] == ["adapter", "base"]
    names = [model["name"] for model in before["models"]]
    with load(before["url"], names) as outcomes:
        runtime = {"type": "MultiLLM", "device": "cpu"}
        kubectl.apply({**deployment, "spec": {**deployment["spec"], "runtime": runtime}})
        after = wait_until_ready(name, generation=2)
    assert [error for error in outcomes if error is not None] == []
    assert len(outcomes) >= IN_FLIGHT
    assert after["models"] == before["models"]
    for served in names:
        assert ask.complete(after["url"], served, PROMPT)


def test_a_file_that_was_changed_in_the_store_is_never_served(start: Start, models: Path) -> None:
    settings = artifact_of(models, "changed")
    key = f"out/changed/{adapters.WEIGHTS}"
    content = storage.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    storage.client().put_object(Bucket=BUCKET, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))
    name = start(build_deployment("changed", runtime={"type": "VLLM", "device": "cpu"}, **settings))
    refused = kubectl.wait_until(KIND, name, NAMESPACE, lambda md: kubectl.is_true(md, "Stalled"), timeout=300)
    stalled = kubectl.condition(refused, "Stalled")
    assert stalled["reason"] == "ArtifactInvalid"
    assert adapters.WEIGHTS in stalled["message"]
    assert not kubectl.is_true(refused, "Available")
