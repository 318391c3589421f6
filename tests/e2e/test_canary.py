"""A version that answers worse than the one that is served: tried beside it, removed, and never asked by anybody."""

import json
import threading
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.demo import ask
from tests.e2e.conftest import BUCKET, NAMESPACE, Job
from tests.support import adapters, kubectl, storage

Start = Callable[[Job], str]
KIND = "modeldeployment"
PROMPT = "Team:"
"""What is asked all the while: an engine on CPU takes its time for each token."""
HELD_OUT = "data/canary.jsonl"
TOKENS = 6
BASE = f"s3://{BUCKET}/models/smollm2"


def build_deployment(name: str, uri: str) -> Job:
    """Builds a deployment of an adapter whose successors are tried by held-out messages."""
    spec: dict[str, Any] = {
        "model": {"artifact": {"uri": uri}},
        "runtime": {"type": "VLLM", "device": "cpu"},
        "evaluation": {
            "dataset": {"s3": {"uri": f"s3://{BUCKET}/{HELD_OUT}"}},
            "maxTokens": TOKENS,
            "timeoutSeconds": 300,
        },
        "rollout": {"strategy": "Canary"},
        "objectStorage": {"endpointUrl": storage.ENDPOINT, "credentialsSecretRef": {"name": "s3-credentials"}},
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "customizer.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}


def wait(name: str, condition: str, **words: str) -> dict[str, Any]:
    """Waits until a condition of the newest spec holds and has these words; returns the status."""

    def holds(md: Job) -> bool:
        found = kubectl.condition(md, condition)
        is_newest = found.get("observedGeneration") == md["metadata"]["generation"]
        return is_newest and found["status"] == "True" and words.items() <= found.items()

    return dict(kubectl.wait_until(KIND, name, NAMESPACE, holds, timeout=600)["status"])


def expect_own_answers(url: str, model: str) -> None:
    """Makes what a model answers to held-out messages what is expected: another one hardly ever answers the same."""
    messages = storage.client().get_object(Bucket=BUCKET, Key="data/held-out.jsonl")["Body"].read().splitlines()
    prompts = [json.loads(message)["prompt"] for message in messages[:6]]
    answers = [ask.complete(url, model, prompt, max_tokens=TOKENS, timeout=300) for prompt in prompts]
    pairs = [{"prompt": prompt, "completion": answer} for prompt, answer in zip(prompts, answers, strict=True)]
    lines = "".join(f"{json.dumps(pair)}\n" for pair in pairs)
    storage.client().put_object(Bucket=BUCKET, Key=HELD_OUT, Body=lines.encode())


def list_servers(component: str) -> list[str]:
    """Names the pods of servers that are there to stay."""
    selector = f"customizer.dev/model-deployment=canary,app.kubernetes.io/component={component}"
    pods = kubectl.get_all("pod", NAMESPACE, selector)
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@contextmanager
def requests(url: str, good: str, bad: str) -> Iterator[dict[str, int]]:
    """Asks for both models all the while, and counts who is answered; a server knows its own model alone."""
    counts = {good: 0, bad: 0, "failed": 0}
    stop = threading.Event()

    def run(model: str) -> None:
        while not stop.wait(1.0):
            try:
                ask.complete(url, model, PROMPT, max_tokens=1, timeout=300)
            except urllib.error.HTTPError as error:
                counts["failed"] += model == good or error.code != 404
            except OSError:
                counts["failed"] += 1
            else:
                counts[model] += 1

    threads = [threading.Thread(target=run, args=(model,)) for model in (good, bad)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_version_that_answers_worse_is_rolled_back_and_answers_nobody(start: Start, models: Path) -> None:
    good, bad = (
        adapters.publish(BUCKET, f"out/{name}", name=name, base=models / "smollm2", base_uri=BASE, strength=strength)
        for name, strength in (("canary-good", 0.01), ("canary-bad", 1.0))
    )
    name = start(build_deployment("canary", good))
    url = wait(name, "Ready")["url"]
    expect_own_answers(url, "canary-good")
    served = wait(name, "Evaluated")["evaluation"]
    assert served["score"] > 0.5
    before = list_servers("server")

    with requests(url, "canary-good", "canary-bad") as counts:
        patch = json.dumps({"spec": {"model": {"artifact": {"uri": bad}}}})
        kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", patch)
        status = wait(name, "Stalled", reason="WorseThanPrevious")
        kubectl.kubectl("wait", "--for=delete", "deployment/canary-canary", "-n", NAMESPACE, "--timeout=60s")

    trial = status["rollout"]
    assert trial["outcome"] == "RolledBack"
    assert trial["evaluation"]["score"] < trial["previous"]["score"]
    assert counts["canary-good"] > 0
    assert (counts["canary-bad"], counts["failed"]) == (0, 0)
    assert list_servers("server") == before
    assert status["models"][0]["name"] == "canary-good"
    assert "What was served before is served on." in status["message"]
