"""A CustomizationJob's life on the real cluster."""

import hashlib
import json
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import kubectl, storage

Start = Callable[[Job], str]
KIND = "customizationjob"


def wait_for(name: str, type_: str, timeout: float = 300) -> Job:
    return kubectl.wait_until(KIND, name, NAMESPACE, lambda job: kubectl.is_true(job, type_), timeout=timeout)


def wait_for_checkpoint(name: str) -> None:
    """Waits until the first attempt has a complete checkpoint.

    The store has it at once; a status may tell of it when so small a model has already been trained to the end.
    """
    end = time.monotonic() + 240
    while not any(key.endswith("-a1/COMPLETE.json") for key in storage.sizes(BUCKET, f"out/{name}.work/")):
        job = kubectl.get(KIND, name, NAMESPACE)
        assert job is not None
        assert time.monotonic() < end, job["status"]
        assert not kubectl.is_true(job, "Failed"), kubectl.condition(job, "Failed")
        time.sleep(0.2)


def attempts(job: Job) -> list[tuple[int, str]]:
    return [(attempt["number"], attempt.get("outcome", "")) for attempt in job["status"]["attempts"]]


def test_two_pods_on_two_nodes_train_an_adapter_that_its_manifest_vouches_for(start: Start) -> None:
    name = start(build_job("two-nodes", nodes=2, steps=8))
    kubectl.wait_until(KIND, name, NAMESPACE, lambda job: kubectl.is_true(job, "Running"), timeout=120)
    pods = kubectl.get_all("pod", NAMESPACE, f"customizer.dev/customization-job={name},customizer.dev/attempt=1")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 2
    status = wait_for(name, "Complete")["status"]

    key = f"out/{name}"
    body = storage.client().get_object(Bucket=BUCKET, Key=f"{key}/manifest.json")["Body"].read()
    digest = hashlib.sha256(body).hexdigest()
    assert status["artifact"]["manifestDigest"].removeprefix("sha256:") == digest
    assert status["artifact"]["type"] == "adapter"
    for file in json.loads(body)["files"]:
        content = storage.client().get_object(Bucket=BUCKET, Key=f"{key}/{file['path']}")["Body"].read()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert status["plan"]["worldSize"] == 2
    assert status["plan"]["totalSteps"] == status["progress"]["step"] == 8
    assert attempts({"status": status}) == [(1, "Succeeded")]


def test_two_processes_of_a_pod_train_packed_samples_and_merge_their_adapter(start: Start) -> None:
    job = build_job("merged", finetuning_type="lora_merged")
    settings = job["spec"]["automodel"]
    settings["training"] |= {"lora": {"rank": 8}, "maxSeqLength": 512}
    settings["batch"] = {"globalBatchSize": 16, "microBatchSize": 2, "sequencePacking": True}
    settings["parallelism"] = {"numGpusPerNode": 2}
    name = start(job)
    status = wait_for(name, "Complete")["status"]
    assert (status["plan"]["nodes"], status["plan"]["worldSize"]) == (1, 2)
    assert status["plan"]["totalSteps"] == status["progress"]["step"] == 6
    assert status["dataset"]["packed"]["packs"] < status["dataset"]["training"]["samples"] / 2
    assert status["artifact"]["type"] == "model"
    body = storage.client().get_object(Bucket=BUCKET, Key=f"out/{name}/manifest.json")["Body"].read()
    manifest = json.loads(body)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file["path"] for file in manifest["files"]}
    # Loaded again, it does what was trained.
    assert manifest["metrics"]["reloaded_loss"] == pytest.approx(manifest["metrics"]["validation_loss"], rel=0.05)


def test_a_wrong_line_is_named_before_a_training_pod_exists(start: Start) -> None:
    name = start(build_job("wrong-line", data="broken.jsonl"))
    job = wait_for(name, "Failed", timeout=120)
    failed = kubectl.condition(job, "Failed")
    assert failed["reason"] == "DatasetInvalid"
    assert "broken.jsonl" in failed["message"]
    assert "line 7" in failed["message"]
    assert "completion" in failed["message"]
    assert kubectl.get_all("pytorchjob", NAMESPACE, f"customizer.dev/customization-job={name}") == []


def test_a_missing_secret_is_named_and_the_job_goes_on_when_it_appears(start: Start) -> None:
    name = start(build_job("no-secret", secret="late-credentials", steps=2))
    waiting = kubectl.wait_until(
        KIND, name, NAMESPACE, lambda job: "late-credentials" in job.get("status", {}).get("message", ""), timeout=120
    )
    assert not kubectl.is_true(waiting, "Failed")
    kubectl.apply(storage.secret("late-credentials", NAMESPACE))
    wait_for(name, "DatasetReady", timeout=120)


def test_a_worker_pod_deleted_in_mid_training_leads_to_an_attempt_that_resumes(start: Start) -> None:
    name = start(build_job("lost-pod", nodes=2, steps=200, checkpoint_every=10))
    wait_for_checkpoint(name)
    kubectl.kubectl("delete", "pod", f"{name}-a1-worker-1", "-n", NAMESPACE, "--wait=false", "--grace-period=1")
    job = wait_for(name, "Complete", timeout=400)
    first, second = job["status"]["attempts"]
    assert first["outcome"] != "Succeeded"
    assert second["outcome"] == "Succeeded"
    assert second["resumedFromStep"] >= 10
    assert job["status"]["progress"]["step"] == 200


def test_suspend_saves_a_checkpoint_and_resume_goes_on_from_it_while_the_operator_restarts(start: Start) -> None:
    name = start(build_job("pause", steps=500, checkpoint_every=20))
    wait_for_checkpoint(name)
    kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    suspended = wait_for(name, "Suspended", timeout=120)
    assert not kubectl.is_true(suspended, "Failed")
    selector = f"customizer.dev/customization-job={name},customizer.dev/attempt"
    assert kubectl.get_all("pod", NAMESPACE, selector) == []
    kubectl.kubectl("patch", KIND, name, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    kubectl.wait_until(KIND, name, NAMESPACE, lambda job: len(job["status"].get("attempts", [])) == 2, timeout=120)
    kubectl.kubectl("delete", "pod", "-n", "customizer-system", "--all", "--wait=false")
    job = wait_for(name, "Complete", timeout=300)
    assert attempts(job) == [(1, "Suspended"), (2, "Succeeded")]
    assert job["status"]["attempts"][1]["resumedFromStep"] >= 20


def test_deleting_a_job_leaves_nothing_behind_but_its_artifact(start: Start) -> None:
    name = start(build_job("deleted", steps=100))
    kubectl.wait_until(KIND, name, NAMESPACE, lambda job: kubectl.is_true(job, "Running"), timeout=120)
    kubectl.delete(KIND, name, NAMESPACE)
    kubectl.kubectl(
        "wait", "--for=delete", "pod,pytorchjob,job,configmap", "-n", NAMESPACE, "--timeout=120s",
        "-l", f"customizer.dev/customization-job={name}",
    )  # fmt: skip
