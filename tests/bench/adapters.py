"""Adapters that come to a running server: from apply to the first answer, against the server's own load call.

Run below `.cluster/run`, with the operator in the cluster.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from tests.demo import ask
from tests.support import kubectl, storage
from tests.support.adapters import publish

NAMESPACE = BUCKET = "bench"
KIND = "modeldeployment"
NAME = "base"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"
ALONE = 8
"""Adapters that are added one after another."""
ADAPTERS = 100
"""Adapters of one server, in the end."""
_PATIENCE = 240.0


def report(models: Path) -> None:
    """Prints seconds for each adapter, alone and together, and what the server itself takes for one."""
    uris = _publish(models / "smollm2")
    kubectl.apply(_build_server())
    try:
        url = _wait(lambda md: md["status"])["url"]
        _answer(url, NAME)
        _report(url, uris)
    finally:
        kubectl.delete(KIND, NAME, NAMESPACE)


def _report(url: str, uris: list[str]) -> None:
    alone = []
    for number in range(ALONE):
        began = time.monotonic()
        _wish(uris[: number + 1])
        while not _answer(url, _name(number)):
            time.sleep(0.05)
        alone.append(time.monotonic() - began)
    calls = [_call_load(url, number) for number in range(ALONE)]
    began = time.monotonic()
    _answer(url, _name(0))
    answered = time.monotonic() - began
    began = time.monotonic()
    _wish(uris)
    _wait(lambda md: [one["ready"] for one in md["status"].get("adapters") or ()] == ["1/1"] * ADAPTERS)
    together = (time.monotonic() - began) / (ADAPTERS - ALONE)
    peer = median(calls) + answered
    print("\nA LoRA adapter that comes to a running vLLM on this machine; seconds")
    print(f"{'':<62}{'seconds':>9}{'ratio':>8}")
    for title, seconds in (
        ("load call of the server, its file already there, and an answer", peer),
        ("kubectl patch to first answer: download, verify, load, answer", median(alone)),
        (f"each of {ADAPTERS - ALONE} at once, until the status lists them all", together),
    ):
        print(f"{title:<62}{seconds:>9.2f}{seconds / peer:>8.2f}")


def _publish(base: Path) -> list[str]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    kubectl.apply(storage.secret("s3-credentials", NAMESPACE))
    storage.make_bucket(BUCKET)
    storage.upload(base, BUCKET, "models/smollm2")
    uri = f"s3://{BUCKET}/models/smollm2"
    return [
        publish(
            BUCKET, f"adapters/{number}", name=_name(number), base=base, base_uri=uri, strength=0.001 * (number + 1)
        )
        for number in range(ADAPTERS)
    ]


def _build_server() -> dict[str, Any]:
    lora = {"maxRank": 8, "maxGpuAdapters": 4, "maxCpuAdapters": ADAPTERS + ALONE}
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "model": {"s3": {"uri": f"s3://{BUCKET}/models/smollm2"}},
            "runtime": {"type": "VLLM", "device": "cpu", "maxModelLen": 512, "lora": lora},
            "objectStorage": {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}},
            "drainSeconds": 1,
        },
    }


def _wish(uris: list[str]) -> None:
    adapters = [{"name": _name(number), "artifact": {"uri": uri}} for number, uri in enumerate(uris)]
    patch = json.dumps({"spec": {"adapters": adapters}})
    kubectl.kubectl("patch", KIND, NAME, "-n", NAMESPACE, "--type=merge", "-p", patch)


def _wait(is_done: Callable[[kubectl.Object], object]) -> kubectl.Object:
    """Waits until the server is ready and `is_done` holds; returns the status."""

    def is_there(md: kubectl.Object) -> bool:
        newest = md.get("status", {}).get("observedGeneration") == md["metadata"]["generation"]
        return newest and kubectl.is_true(md, "Ready") and bool(is_done(md))

    return dict(kubectl.wait_until(KIND, NAME, NAMESPACE, is_there, timeout=_PATIENCE)["status"])


def _answer(url: str, model: str) -> bool:
    """Asks for one token; False if the server does not know the name yet."""
    try:
        ask.complete(url, model, PROMPT, max_tokens=1, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise
    return True


def _call_load(url: str, number: int) -> float:
    """Returns the seconds that the server takes to load an adapter, which lies there, under another name.

    The sidecar takes that name away again.
    """
    with urllib.request.urlopen(f"{url}/v1/models", timeout=_PATIENCE) as response:
        (path,) = [entry["root"] for entry in json.load(response)["data"] if entry["id"] == _name(number)]
    body = json.dumps({"lora_name": f"peer-{number}", "lora_path": path}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/load_lora_adapter", body, headers)
    began = time.monotonic()
    urllib.request.urlopen(request, timeout=_PATIENCE).close()
    return time.monotonic() - began


def _name(number: int) -> str:
    return f"tickets-{number}"


if __name__ == "__main__":
    report(Path(sys.argv[1]))
