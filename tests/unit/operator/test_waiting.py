"""Why pods do not run, in one sentence with a remedy."""

from datetime import timedelta
from typing import Any

import pytest

from customizer_operator.plan.pods import parse_pod
from customizer_operator.plan.waiting import Waiting, explain
from tests.unit.operator.simulator import START, write_time


def explain_one(status: dict[str, Any], events: list[dict[str, Any]] | None = None) -> Waiting | None:
    item = {
        "metadata": {"name": "p", "uid": "u", "creationTimestamp": write_time(START), "labels": {}},
        "spec": {
            "containers": [{"name": "pytorch", "resources": {"limits": {"nvidia.com/gpu": "8", "memory": "1Gi"}}}]
        },
        "status": {"phase": "Pending", **status},
    }
    pod = parse_pod(item, "pytorch")
    return explain([pod], expected=1, owner="PyTorchJob j", owner_events=[], pod_events={"u": events or []})


def unplaced(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


def waiting(reason: str, message: str = "", image: str = "registry/trainer:1") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "pytorch", "image": image, "state": state}]}


def event(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message}


@pytest.mark.parametrize(
    ("status", "reason", "words", "needs_help"),
    [
        (
            unplaced("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."),
            "Unschedulable",
            "8 nvidia.com/gpu are missing, 8 for each pod",
            False,
        ),
        (unplaced('persistentvolumeclaim "data" not found'), "VolumeClaimMissing", "PersistentVolumeClaim data", True),
        (waiting("ErrImagePull", "no such image"), "ImageUnavailable", "Image registry/trainer:1", True),
        (waiting("ErrImageNeverPull"), "ImageUnavailable", "imagePullSecrets", True),
        (
            waiting("CreateContainerConfigError", 'secret "s3" not found'),
            "SecretMissing",
            "Secret s3 does not exist",
            True,
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key HF_TOKEN in Secret team/hub"),
            "SecretMissing",
            "Secret hub has no key HF_TOKEN",
            True,
        ),
        (waiting("CreateContainerConfigError", 'configmap "j" not found'), "ConfigMapMissing", "makes it anew", False),
        (waiting("CreateContainerError", "no such device"), "ContainerRefused", "no such device", True),
    ],
)
def test_the_pod_knows_why(status: dict[str, Any], reason: str, words: str, needs_help: bool) -> None:
    found = explain_one(status)
    assert found is not None
    assert (found.reason, found.needs_help) == (reason, needs_help)
    assert words in found.message


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        ('MountVolume.SetUp failed for volume "config" : configmap "j" not found', "ConfigMapMissing", "makes it anew"),
        ("AttachVolume.Attach failed: quota", "VolumeUnavailable", "cannot be mounted: AttachVolume.Attach failed"),
    ],
)
def test_the_events_of_a_pod_know_why_a_volume_is_missing(message: str, reason: str, words: str) -> None:
    found = explain_one(waiting("ContainerCreating"), [event("Scheduled", "ok"), event("FailedMount", message)])
    assert found is not None
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (
            'pods "j-0" is forbidden: violates PodSecurity "restricted:latest"',
            "PodSecurityRefused",
            "look for a webhook",
        ),
        ('admission webhook "policy" denied the request: no', "PodRefused", "have the quota or policy changed"),
        (
            'error looking up service account team/robot: serviceaccount "robot" not found',
            "ServiceAccountMissing",
            "robot",
        ),
    ],
)
def test_the_events_of_the_owner_know_why_there_is_no_pod(message: str, reason: str, words: str) -> None:
    found = explain(
        [], expected=2, owner="PyTorchJob j", owner_events=[event("FailedCreatePod", message)], pod_events={}
    )
    assert found is not None
    assert (found.reason, found.needs_help) == (reason, True)
    assert words in found.message


def test_a_quota_that_is_used_up_frees_itself() -> None:
    refusal = event("FailedCreatePod", 'pods "j-0" is forbidden: exceeded quota: gpus, requested: 8, used: 8')
    found = explain([], expected=2, owner="PyTorchJob j", owner_events=[refusal], pod_events={})
    assert found is not None
    assert (found.reason, found.needs_help) == ("QuotaExceeded", False)
    assert "exceeded quota: gpus, requested: 8, used: 8" in found.message


@pytest.mark.parametrize(
    "status",
    [{}, waiting("ContainerCreating"), waiting("PodInitializing"), {"phase": "Running"}],
    ids=["new", "creating", "initializing", "running"],
)
def test_a_pod_on_its_way_waits_for_nothing(status: dict[str, Any]) -> None:
    assert explain_one(status) is None


def test_what_needs_a_person_is_told_before_what_needs_room() -> None:
    pods = []
    for name, status in (("a", unplaced("no room")), ("b", waiting("ErrImagePull"))):
        item = {
            "metadata": {"name": name, "uid": name, "creationTimestamp": write_time(START + timedelta(seconds=1))},
            "spec": {"containers": []},
            "status": {"phase": "Pending", **status},
        }
        pods.append(parse_pod(item, "pytorch"))
    found = explain(pods, expected=2, owner="PyTorchJob j", owner_events=[], pod_events={})
    assert found is not None
    assert found.reason == "ImageUnavailable"
