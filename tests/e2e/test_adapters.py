"""Adapters that come and go while the real engine serves their base model."""

import hashlib
import json
import struct
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

from tests.demo import ask
from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import kubectl, storage
from tests.support.load import IN_FLIGHT, keep_asking

Start = Callable[[Job], str]
KIND = "modeldeployment"
KEY = "sesame"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"
SHORT = "Team:"
"""What many ask at once: an engine on CPU takes its time for each token."""


def build_base(name: str) -> Job:
    """Builds a deployment of the base model, with room for adapters."""
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"s3": {"uri": f"s3://{BUCKET}/models/smollm2"}},
            "runtime": {
                "type": "VLLM",
                "device": "cpu",
                "lora": {"maxRank": 8, "maxGpuAdapters": 4},
                "apiKeySecretRef": {"name": "door"},
            },
            "probe": {"prompt": PROMPT, "expectedPattern": ".", "maxTokens": 4, "timeoutSeconds": 300},
            "objectStorage": {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}},
        },
    }


def read(key: str) -> bytes:
    return storage.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()


def publish_copy(source: str, target: str, weights: Callable[[bytes], bytes], **base_model: str) -> None:
    """Publishes an adapter again, with other weights or as one of another base model."""
    manifest = json.loads(read(f"{source}/manifest.json"))
    for file in manifest["files"]:
        content = read(f"{source}/{file['path']}")
        if file["path"] == "adapter_model.safetensors":
            content = weights(content)
        file["sha256"] = hashlib.sha256(content).hexdigest()
        storage.client().put_object(Bucket=BUCKET, Key=f"{target}/{file['path']}", Body=content)
    manifest["baseModel"] |= base_model
    storage.client().put_object(Bucket=BUCKET, Key=f"{target}/manifest.json", Body=json.dumps(manifest).encode())


def clear(content: bytes) -> bytes:
    """Makes all matrices zero, so that the adapter changes nothing."""
    (length,) = struct.unpack("<Q", content[:8])
    return content[: 8 + length] + bytes(len(content) - 8 - length)


def wish(name: str, *adapters: dict[str, Any]) -> None:
    patch = json.dumps({"spec": {"adapters": list(adapters)}})
    kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", patch)


def of(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "artifact": {"uri": f"s3://{BUCKET}/{path}"}}


def wait(name: str, is_done: Callable[[Job], object], timeout: float = 240) -> Job:
    """Waits for a status of the newest spec."""

    def is_newest(md: Job) -> bool:
        return md.get("status", {}).get("observedGeneration") == md["metadata"]["generation"]

    found = kubectl.wait_until(KIND, name, NAMESPACE, lambda md: is_newest(md) and is_done(md), timeout=timeout)
    return dict(found["status"])


def wait_ready(name: str, adapters: list[str], timeout: float = 240) -> Job:
    def is_ready(md: Job) -> bool:
        listed = [adapter["name"] for adapter in md["status"].get("adapters") or []]
        return kubectl.is_true(md, "Ready") and listed == adapters

    return wait(name, is_ready, timeout)


def complete(url: str, model: str, prompt: str, key: str | None = KEY, max_tokens: int = 4) -> str:
    return ask.complete(url, model, prompt, max_tokens=max_tokens, timeout=300, key=key)


def find_pod(name: str) -> Job:
    pods = kubectl.get_all(
        "pod", NAMESPACE, f"customizer.dev/model-deployment={name},app.kubernetes.io/component=server"
    )
    return next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def identity(pod: Job) -> tuple[str, int]:
    """What changes when a pod or its server is started anew."""
    counts = {entry["name"]: entry["restartCount"] for entry in pod["status"]["containerStatuses"]}
    return pod["metadata"]["uid"], counts["server"]


def test_adapters_come_and_go_while_their_base_model_is_served(start: Start) -> None:
    """The server asks for a key: whatever the operator knows of it, it knows by the sidecar.

    In the end it is rolled out anew, on two replicas, and one of these is lost, while requests are in flight. Then a
    server crashes: what its sidecar gave it is gone, and is given again.
    """
    door = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door", "namespace": NAMESPACE}}
    kubectl.apply({**door, "stringData": {"API_KEY": KEY}})
    job = start(build_job("for-live", model="smollm2", steps=4))
    name = start(build_base("live"))
    kubectl.wait_until(
        "customizationjob", job, NAMESPACE, lambda found: kubectl.is_true(found, "Complete"), timeout=900
    )
    status = wait_ready(name, [], 600)
    url = status["url"]
    assert status["probe"]["passed"] == "1/1"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        complete(url, name, PROMPT, key=None)
    before = identity(find_pod(name))
    publish_copy(f"out/{job}", "out/live-zero", clear)
    publish_copy(f"out/{job}", "out/live-swapped", bytes, digest="0" * 64)
    tuned = {"name": "tuned", "customizationJobRef": {"name": job}}

    def ask_base(_: int) -> str:
        return complete(url, name, SHORT, max_tokens=1)

    with keep_asking(ask_base) as adding:
        wish(name, tuned, of("zero", "out/live-zero"))
        status = wait_ready(name, ["tuned", "zero"], 480)
        assert [(one["ready"], one["endpoint"]) for one in status["adapters"]] == [("1/1", "/v1/completions")] * 2

        wish(name, tuned, of("zero", "out/live-zero"), of("swapped", "out/live-swapped"))
        status = wait(name, lambda md: kubectl.is_true(md, "Stalled"), 480)
        assert [one["ready"] for one in status["adapters"]] == ["1/1", "1/1", "0/1"]
        assert status["adapters"][2]["reason"] == "AdapterIncompatible"
        assert "was trained on" in status["message"]
    base = complete(url, name, PROMPT)
    assert complete(url, "zero", PROMPT) == base
    assert complete(url, "tuned", PROMPT) != base

    with keep_asking(ask_base) as removing:
        wish(name, tuned)
        wait_ready(name, ["tuned"], 480)
    assert adding.errors + removing.errors == []
    assert min(adding.answered, removing.answered) >= IN_FLIGHT
    assert identity(find_pod(name)) == before
    with pytest.raises(urllib.error.HTTPError, match="404"):
        complete(url, "zero", PROMPT)

    answer = complete(url, "tuned", PROMPT)
    with keep_asking(lambda number: complete(url, (name, "tuned")[number % 2], SHORT, max_tokens=1)) as outcomes:
        change = {"spec": {"replicas": 2, "runtime": {"maxModelLen": 512}}}
        kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", json.dumps(change))
        assert wait_ready(name, ["tuned"], 480)["adapters"][0]["ready"] == "2/2"
        # As an eviction does: whoever drains a node waits until the requests of a server have ended.
        kubectl.kubectl("delete", "pod", find_pod(name)["metadata"]["name"], "-n", NAMESPACE, "--wait=false")
        kubectl.wait_until(KIND, name, NAMESPACE, lambda md: not kubectl.is_true(md, "Ready"), timeout=60)
        wait_ready(name, ["tuned"], 480)
    assert outcomes.errors == []
    assert outcomes.answered > IN_FLIGHT
    assert complete(url, "tuned", PROMPT) == answer

    crashed = find_pod(name)
    pod, (uid, restarts) = crashed["metadata"]["name"], identity(crashed)
    kubectl.kubectl("exec", pod, "-n", NAMESPACE, "-c", "server", "--", "python", "-c", "import os; os.kill(1, 15)")
    kubectl.wait_until("pod", pod, NAMESPACE, lambda found: identity(found) == (uid, restarts + 1), timeout=120)
    kubectl.wait_until(KIND, name, NAMESPACE, lambda md: not kubectl.is_true(md, "Ready"), timeout=60)
    assert wait_ready(name, ["tuned"], 480)["adapters"][0]["ready"] == "2/2"
    assert complete(url, "tuned", PROMPT) == answer
