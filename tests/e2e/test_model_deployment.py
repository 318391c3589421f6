"""What a job made, served by the real engine."""

import json
import time
import urllib.error
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.demo import ask
from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import adapters, kubectl, storage

Start = Callable[[Job], str]
KIND = "modeldeployment"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"


def build_deployment(name: str, **spec: Any) -> Job:
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def wait_until_ready(name: str) -> dict[str, Any]:
    """Waits until every server answers; returns the status."""
    found = kubectl.wait_until(KIND, name, NAMESPACE, lambda md: kubectl.is_true(md, "Ready"), timeout=600)
    return dict(found["status"])


def test_full_weights_are_served_by_a_nim(start: Start) -> None:
    """The loss of the server, over the job's own validation set, is that of the training."""
    model, evaluation = {"customizationJobRef": {"name": "for-weights"}}, {"metric": "Loss", "timeoutSeconds": 300}
    deployment = start(build_deployment("weights", model=model, runtime={"type": "MultiLLM"}, evaluation=evaluation))
    waiting = kubectl.wait_until(
        KIND, deployment, NAMESPACE, lambda md: md.get("status", {}).get("message"), timeout=60
    )
    assert "for-weights" in waiting["status"]["message"]
    job = start(build_job("for-weights", model="smollm2", finetuning_type="all_weights", steps=3))
    status = wait_until_ready(deployment)
    (served,) = status["models"]
    assert served["kind"] == "model"
    assert ask.complete(status["url"], served["name"], PROMPT, max_tokens=4)
    evaluated = kubectl.wait_until(
        KIND, deployment, NAMESPACE, lambda md: kubectl.is_true(md, "Evaluated"), timeout=300
    )
    manifest = json.loads(storage.client().get_object(Bucket=BUCKET, Key=f"out/{job}/manifest.json")["Body"].read())
    loss = evaluated["status"]["evaluation"]["loss"]
    assert loss == pytest.approx(manifest["metrics"]["validation_loss"], rel=1e-2)


def find_engine() -> str:
    """Returns the image of the local engine, which obeys the variables of every generation, and of one at a time."""
    operator = kubectl.get("deployment", "customizer-operator", "customizer-system") or {}
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    return str(next(entry["value"] for entry in container["env"] if entry["name"] == "CUSTOMIZER_MULTI_LLM_IMAGE"))


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param({"type": "MultiLLM", "generation": "V2", "maxModelLen": 256}, id="V2"),
        pytest.param({"type": "ModelSpecificNIM", "generation": "V1", "profile": "vllm"}, id="fine-tuned"),
        pytest.param({"type": "ModelSpecificNIM", "generation": "Engine"}, id="Engine"),
    ],
)
def test_a_nim_of_each_generation_starts_with_what_it_is_told(start: Start, runtime: dict[str, Any]) -> None:
    """The image ends at once when variables of two generations meet, or one that its generation does not know."""
    base = {"s3": {"uri": f"s3://{BUCKET}/models/smollm2"}}
    access = {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}}
    image = {"image": find_engine(), "device": "cpu"}
    spec = {"model": base, "runtime": runtime | image, "objectStorage": access, "drainSeconds": 1}
    status = wait_until_ready(start(build_deployment("generation", **spec)))
    assert ask.complete(status["url"], status["models"][0]["name"], PROMPT, max_tokens=2)


def artifact_of(models: Path, name: str) -> dict[str, Any]:
    """Publishes an adapter of smollm2 and returns what serves it, without the server."""
    base = f"s3://{BUCKET}/models/smollm2"
    uri = adapters.publish(BUCKET, f"out/{name}", name=name, base=models / "smollm2", base_uri=base)
    access = {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}}
    return {"model": {"artifact": {"uri": uri}}, "objectStorage": access}


def test_adapters_are_served_beside_their_base_by_a_nim(start: Start, models: Path) -> None:
    """The server finds one in NIM_PEFT_SOURCE when it starts, and another, which comes and goes, while it runs."""
    settings = artifact_of(models, "adapter")
    live = {"name": "live", "artifact": artifact_of(models, "nim-live")["model"]["artifact"]}
    runtime = {"type": "MultiLLM", "device": "cpu", "lora": {"maxRank": 8}}
    name = start(build_deployment("adapter", runtime=runtime, **settings))
    status = wait_until_ready(name)
    assert [model["kind"] for model in status["models"]] == ["adapter", "base"]
    for served in status["models"]:
        assert ask.complete(status["url"], served["name"], PROMPT, max_tokens=4)
    change(name, adapters=[live])
    kubectl.wait_until(KIND, name, NAMESPACE, lambda md: is_ready_with(md, ["live"]), timeout=120)
    assert ask.complete(status["url"], "live", PROMPT, max_tokens=4)
    change(name, adapters=[])
    wait_until_gone(status["url"], "live")


def change(name: str, **spec: Any) -> None:
    """Edits the spec."""
    kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": spec}))


def is_ready_with(md: Job, names: list[str]) -> bool:
    """Tells whether every server answers to exactly these live adapters."""
    listed = [adapter["name"] for adapter in md["status"].get("adapters") or []]
    return kubectl.is_true(md, "Ready") and listed == names


def wait_until_gone(url: str, model: str) -> None:
    """Waits until a server does not know a name any more."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            ask.complete(url, model, PROMPT, max_tokens=1)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return
            raise
        time.sleep(1)
    raise AssertionError(f"{model} is still answered")


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
