"""Real Kueue: an attempt is held back, queued, admitted, placed, and runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NAMESPACE, build_job
from tests.support import kubectl

KIND = "customizationjob"
QUEUES = str(Path(__file__).parents[2] / "manifests/overlays/kueue/queues.yaml")
QUEUE, CLIQUE = "customizer", "nvidia.com/gpu.clique"
Job = dict[str, Any]


@pytest.fixture
def queue() -> Iterator[str]:
    """The queues that the overlay installs, as they stand; one more LocalQueue, here; and room for two pods.

    The overlay's other half, manifests/base, is what `make deploy` has installed, with the images of this clone.
    """
    kubectl.kubectl("apply", "--server-side", "--filename", QUEUES)
    metadata = {"name": QUEUE, "namespace": NAMESPACE}
    local = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": metadata}
    kubectl.apply({**local, "spec": {"clusterQueue": QUEUE}})
    resources = "/spec/resourceGroups/0/flavors/0/resources"
    room = {"cpu": "600m", "memory": "3Gi", "nvidia.com/gpu": "0"}
    quotas = [{"name": name, "nominalQuota": quota} for name, quota in room.items()]
    patch = json.dumps([{"op": "replace", "path": resources, "value": quotas}])
    kubectl.kubectl("patch", "clusterqueue", QUEUE, "--type=json", "-p", patch)
    yield QUEUE
    kubectl.delete("localqueue", QUEUE, NAMESPACE)
    kubectl.kubectl("delete", "--filename", QUEUES)


def test_a_queue_admits_whole_attempts_in_turn_and_keeps_their_pods_near(
    queue: str, start: Callable[[Job], str]
) -> None:
    first, second = build_job("queued-first", nodes=2, steps=1000), build_job("queued-second", steps=2)
    for job in (first, second):
        job["spec"]["scheduling"] = {"queue": queue, "topology": {"blockLabel": CLIQUE}}
    name = start(first)
    running = kubectl.wait_until(KIND, name, NAMESPACE, lambda job: kubectl.is_true(job, "Running"), timeout=200)
    # Without a queue two pods spread over the two cliques, as another test sees.
    placement = kubectl.wait_until(KIND, name, NAMESPACE, lambda job: "placement" in job["status"], timeout=60)[
        "status"
    ]["placement"]
    assert running["status"]["plan"]["placement"][0]["label"] == CLIQUE
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
