"""What goes wrong on real clusters, in their own words: reason and remedy stand in `kubectl describe`.

All jobs are applied at once and wait or fail side by side; none of them trains.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import Reason
from tests.e2e.conftest import NAMESPACE, Job, build_job
from tests.support import kubectl, storage

KIND = "customizationjob"
FULL = f"{NAMESPACE}-full"
"""A namespace whose quota is used up."""
HALF = "half-a-secret"
_PATIENCE = 300


def _build(name: str, **spec: Any) -> Job:
    job = build_job(name)
    job["spec"] |= spec
    job["spec"]["failurePolicy"] = {"maxAttempts": 1}
    return job


def _build_on_gpus(name: str, gpus: int) -> Job:
    """Builds a job of one pod; the nodes advertise eight GPUs that are none."""
    job = _build(name, compute={"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}})
    job["spec"]["automodel"] |= {
        "parallelism": {"numNodes": 1, "numGpusPerNode": gpus},
        "batch": {"globalBatchSize": 4 * gpus, "microBatchSize": 4},
    }
    return job


def _build_full() -> Job:
    job = _build("quota")
    job["metadata"]["namespace"] = FULL
    return job


def _remedy(reason: Reason) -> str:
    return CATALOGUE[reason].remedy


S3 = {"endpointUrl": storage.ENDPOINT}
FAILURES = [
    (_build_full(), "QuotaExceeded", "have the ResourceQuota raised"),
    (
        _build("claim", model={"persistentVolumeClaim": {"claimName": "nowhere", "path": "model"}}),
        "VolumeClaimMissing",
        "PersistentVolumeClaim nowhere does not exist: create it, or correct its name in the spec.",
    ),
    (
        _build("image", compute={"device": "cpu", "image": "registry.invalid/trainer:absent"}),
        "ImageUnavailable",
        "Correct the image, or name an imagePullSecrets entry.",
    ),
    (
        _build("account", objectStorage={**S3, "serviceAccountName": "nobody"}),
        "ServiceAccountMissing",
        "ServiceAccount nobody does not exist: create it, or correct objectStorage.serviceAccountName.",
    ),
    (
        _build("key", objectStorage={**S3, "credentialsSecretRef": {"name": HALF}}),
        "SecretMissing",
        f"Secret {HALF} has no key AWS_SECRET_ACCESS_KEY: add the key, or correct the reference in the spec.",
    ),
    (_build_on_gpus("nine-gpus", 9), "Unschedulable", "9 nvidia.com/gpu are missing, 9 for each pod."),
    (_build_on_gpus("eight-gpus", 8), "DeviceUnavailable", _remedy(Reason.DEVICE_UNAVAILABLE)),
    (
        _build("memory", compute={"device": "cpu", "resources": {"limits": {"cpu": "1", "memory": "256Mi"}}}),
        "OutOfMemory",
        _remedy(Reason.OUT_OF_MEMORY),
    ),
]


@pytest.fixture(scope="module")
def broken() -> Iterator[None]:
    """All the jobs, and what is wrong around them."""
    quota = {"metadata": {"name": "none", "namespace": FULL}, "spec": {"hard": {"pods": "0"}}}
    secret = {"metadata": {"name": HALF, "namespace": NAMESPACE}, "stringData": {"AWS_ACCESS_KEY_ID": "half"}}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FULL}})
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", **quota},
        {"apiVersion": "v1", "kind": "Secret", **secret},
        storage.secret("s3-credentials", FULL),
        *(job for job, _, _ in FAILURES),
    )
    yield
    for job, _, _ in FAILURES:
        kubectl.delete(KIND, job["metadata"]["name"], job["metadata"]["namespace"], wait=False)
    kubectl.kubectl("delete", "namespace", FULL, "--wait=false")


@pytest.mark.parametrize(
    ("job", "reason", "remedy"), [pytest.param(*failure, id=failure[0]["metadata"]["name"]) for failure in FAILURES]
)
def test_describe_tells_what_is_wrong_and_what_to_do(broken: None, job: Job, reason: str, remedy: str) -> None:
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    deadline, told = time.monotonic() + _PATIENCE, ""
    while not (reason in told and remedy in told):
        assert time.monotonic() < deadline, told
        time.sleep(1)
        told = kubectl.kubectl("describe", "cjob", name, "-n", namespace)
    status = (kubectl.get(KIND, name, namespace) or {})["status"]
    assert remedy in status["message"], "the sentence that `kubectl get` shows has it, too"
    # A failure that might not come back is an attempt's; the job's own is then MaxAttemptsReached.
    assert reason in {entry.get("reason") for entry in [*status["conditions"], *status.get("attempts", ())]}
