"""Real Kueue: an attempt is held back, queued, admitted, placed, and runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import NAMESPACE, build_job
from tests.support import kubectl

KIND = "customizationjob"
QUEUES = Path(__file__).parents[2] / "manifests/overlays/kueue/queues.yaml"
RACK = "topology.customizer.dev/rack"
LEVELS = ("topology.customizer.dev/block", RACK, "kubernetes.io/hostname")
Job = dict[str, Any]


@pytest.fixture
def queue() -> Iterator[str]:
    """The queues that the overlay installs, with the labels of these nodes and room for two pods."""
    topology, flavor, cluster_queue, local_queue = yaml.safe_load_all(QUEUES.read_text())
    topology["spec"]["levels"] = [{"nodeLabel": label} for label in LEVELS]
    flavor["spec"]["nodeLabels"] = {"kubernetes.io/os": "linux"}
    quotas = cluster_queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    for quota, room in zip(quotas, ("600m", "3Gi", "0"), strict=True):
        quota["nominalQuota"] = room
    local_queue["metadata"]["namespace"] = NAMESPACE
    objects = (topology, flavor, cluster_queue, local_queue)
    for item in objects:
        kubectl.apply(item)
    yield str(local_queue["metadata"]["name"])
    for item in reversed(objects):
        kubectl.delete(item["kind"].lower(), item["metadata"]["name"], NAMESPACE)


def test_a_queue_admits_whole_attempts_in_turn_and_keeps_their_pods_near(
    queue: str, start: Callable[[Job], str]
) -> None:
    first, second = build_job("queued-first", nodes=2, steps=1000), build_job("queued-second", steps=2)
    for job in (first, second):
        job["spec"]["scheduling"] = {"queue": queue, "topology": {"blockLabel": RACK}}
    name = start(first)
    running = kubectl.wait_until(KIND, name, NAMESPACE, lambda job: kubectl.is_true(job, "Running"), timeout=200)
    # Without a queue two pods spread over the two racks, as another test sees.
    placement = kubectl.wait_until(KIND, name, NAMESPACE, lambda job: "placement" in job["status"], timeout=60)[
        "status"
    ]["placement"]
    assert running["status"]["plan"]["placement"][0]["label"] == RACK
    assert placement["crossing"] == 0
    assert len(placement["groups"][0]["domains"]) == 1

    waiting = start(second)

    def is_queued(job: Job) -> bool:
        return str(kubectl.condition(job, "Admitted").get("reason")) == "Queued"

    queued = kubectl.wait_until(KIND, waiting, NAMESPACE, is_queued, timeout=120)["status"]
    assert queued["state"] == "Queued"
    assert f"in LocalQueue {queue}" in queued["message"]
    kubectl.wait_until(KIND, waiting, NAMESPACE, lambda job: "as number 1 in" in job["status"]["message"], timeout=60)
    pods = f"customizer.dev/customization-job={waiting},customizer.dev/attempt"
    assert kubectl.get_all("pod", NAMESPACE, pods) == []

    kubectl.delete(KIND, name, NAMESPACE)
    kubectl.wait_until(KIND, waiting, NAMESPACE, lambda job: kubectl.is_true(job, "Complete"), timeout=200)
