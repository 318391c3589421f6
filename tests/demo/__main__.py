"""The project's main job, on a real cluster: two YAML files go in, a model that answers better comes out.

Run by `make demo`, below `.cluster/run`, when cluster, images and operator stand.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.demo import ask, tickets
from tests.support import kubectl, storage

NAMESPACE = "demo"
BUCKET = "demo"
MODEL = "models/smollm2-135m-instruct"
HERE = Path(__file__).parent
START = time.monotonic()


def say(text: str) -> None:
    """Prints a line with the time since the start."""
    seconds = int(time.monotonic() - START)
    print(f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}", flush=True)


def prepare(model: Path, data: Path) -> list[dict[str, str]]:
    """Clears what an earlier demo left, uploads model and data, and returns the held-out records."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    kubectl.apply(namespace)
    for kind in ("modeldeployment", "customizationjob"):
        kubectl.delete(kind, "tickets", NAMESPACE)
    storage.make_bucket(BUCKET)
    storage.remove(BUCKET, "tickets/")
    training, held_out = tickets.write(data)
    sent = storage.upload(model, BUCKET, MODEL)
    sent += storage.upload(training, BUCKET, "tickets/training.jsonl")
    say(f"uploaded {sent / 1e6:.0f} MB: the base model and {len(training.read_text().splitlines())} training records")
    kubectl.apply(storage.secret("s3-credentials", NAMESPACE))
    return [json.loads(line) for line in held_out.read_text().splitlines()]


def progress_line(job: dict[str, Any]) -> str:
    """Tells a job's story in one line, from its status alone."""
    status = job.get("status", {})
    progress = status.get("progress") or {}
    parts = [status.get("state", "Pending")]
    if progress.get("totalSteps") and progress.get("step"):
        parts.append(f"step {progress['step']}/{progress['totalSteps']}")
        if progress.get("trainLoss") is not None:
            parts.append(f"loss {progress['trainLoss']:.3f}")
        if progress.get("validationLoss") is not None:
            parts.append(f"validation {progress['validationLoss']:.3f}")
        if progress.get("eta"):
            parts.append(f"ETA {progress['eta']}")
    elif status.get("message"):
        parts.append(status["message"])
    return " · ".join(parts)


def follow(kind: str, done: str, timeout: float) -> dict[str, Any]:
    """Shows an object's story until condition `done` holds; ends the demo if it fails."""
    shown = ""
    for found in kubectl.watch(kind, "tickets", NAMESPACE, timeout=timeout):
        line = progress_line(found)
        if line != shown:
            say(f"  {kind}/tickets: {line}")
            shown = line
        is_newest = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
        if is_newest and kubectl.is_true(found, done):
            return found
        for bad in ("Failed", "Stalled"):
            if kubectl.is_true(found, bad):
                sys.exit(f"{kind}/tickets: {kubectl.condition(found, bad).get('message')}")
    raise AssertionError("watch ends by return or by TimeoutError")


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of SmolLM2-135M-Instruct in Hugging Face layout")
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as data:
        held_out = prepare(model, Path(data))

    say("kubectl apply -f tests/demo/job.yaml")
    kubectl.kubectl("apply", "--server-side", "-f", str(HERE / "job.yaml"))
    job = follow("customizationjob", "Complete", timeout=1800)
    say("kubectl apply -f tests/demo/deployment.yaml")
    kubectl.kubectl("apply", "--server-side", "-f", str(HERE / "deployment.yaml"))
    follow("modeldeployment", "Ready", timeout=900)
    before = find_servers()
    say("kubectl apply -f tests/demo/adapter.yaml")
    kubectl.kubectl("apply", "--server-side", "-f", str(HERE / "adapter.yaml"))
    deployment = follow("modeldeployment", "Ready", timeout=300)
    if find_servers() != before:
        sys.exit("the adapter was not added to the running server")
    say("  the server was not restarted")

    status = deployment["status"]
    say(f"asking {len(held_out)} held-out questions at {status['url']}/v1/completions")
    rows = []
    names = [(model["name"], "base") for model in status["models"]]
    for name, kind in [*names, *((adapter["name"], "adapter") for adapter in status["adapters"])]:
        answers = ask.ask_all(status["url"], name, held_out)
        rows.append((name, kind, ask.accuracy(answers), answers))
    print_results(rows, job["status"])


def find_servers() -> dict[str, int]:
    """Returns the servers' pods by uid, with the number of times that each was started again."""
    pods = kubectl.get_all(
        "pod", NAMESPACE, "customizer.dev/model-deployment=tickets,app.kubernetes.io/component=server"
    )
    return {
        pod["metadata"]["uid"]: sum(entry["restartCount"] for entry in pod["status"]["containerStatuses"])
        for pod in pods
    }


def print_results(rows: list[tuple[str, str, float, list[ask.Answer]]], status: dict[str, Any]) -> None:
    """Prints the table, the artifact and where to look next."""
    print(f"\n{'model':<28}{'kind':<10}{'right':>10}{'accuracy':>10}")
    for name, kind, share, answers in rows:
        right = sum(answer.is_right for answer in answers)
        print(f"{name:<28}{kind:<10}{f'{right}/{len(answers)}':>10}{share:>10.1%}")
    artifact = status["artifact"]
    gain = rows[-1][2] - rows[0][2]
    print(f"\ngain      {gain:+.1%} on messages that the training data does not hold")
    print(f"artifact  {artifact['uri']}  {artifact['manifestDigest']}")
    print(
        "\nLook around:\n"
        "  .cluster/run kubectl get customizer -n demo\n"
        "  .cluster/run kubectl describe cjob tickets -n demo\n"
        "  .cluster/run curl -s http://tickets.demo.svc.cluster.local:8000/v1/models"
    )
    if gain <= 0:
        sys.exit("the fine-tuned model is not better than its base")


if __name__ == "__main__":
    main()
