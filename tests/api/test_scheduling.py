"""Queues and placement on a real apiserver with Kueue's own CRDs, under the operator's rights."""

from pathlib import Path

from tests.api.conftest import Operator
from tests.api.control_plane import ControlPlane
from tests.api.world import Object, World
from tests.support import samples

OVERLAY = Path(__file__).parents[2] / "manifests/overlays/kueue"
TOPOLOGY = {"fastDomainLabel": "example.com/nvlink", "blockLabel": "example.com/leaf"}
QUOTA = "insufficient quota for cpu in flavor default"


def test_the_overlay_installs_queues_that_kueue_takes(control_plane: ControlPlane, kueue: None) -> None:
    told = control_plane.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(OVERLAY))
    for line in ("topology", "resourceflavor", "clusterqueue", "localqueue"):
        assert f"{line}.kueue.x-k8s.io/customizer serverside-applied" in told


def make_workload(world: World, uid: str) -> None:
    """Creates the Workload of a PyTorchJob as Kueue does, held back for want of quota."""
    container = {"name": "pytorch", "image": "i"}
    pod_set = {"name": "worker", "count": 2, "template": {"spec": {"containers": [container]}}}
    world.create(
        "workloads",
        {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "Workload",
            "metadata": {"name": "pytorchjob-tickets", "labels": {"kueue.x-k8s.io/job-uid": uid}},
            "spec": {"queueName": "team-a", "podSets": [pod_set]},
        },
    )
    condition: Object = {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": QUOTA,
        "lastTransitionTime": "2026-11-24T00:00:00Z",
    }
    world.patch("workloads", "pytorchjob-tickets", {"status": {"conditions": [condition]}}, "/status")


def test_an_attempt_is_queued_then_admitted_then_placed(
    world: World, control_plane: ControlPlane, kueue: None, operator: Operator
) -> None:
    labels = {"example.com/nvlink": "clique-7", "example.com/leaf": "leaf-2"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": labels}}
    control_plane.call("POST", "/api/v1/nodes", node)
    world.create("customizationjobs", samples.job(scheduling={"queue": "team-a", "topology": TOPOLOGY}))
    world.pass_preflight("tickets", samples.passed())
    job = world.wait_for("pytorchjobs", "tickets-a1")
    assert job["spec"]["runPolicy"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    template = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    assert template["metadata"]["annotations"] == {"kueue.x-k8s.io/podset-preferred-topology": "example.com/leaf"}

    make_workload(world, job["metadata"]["uid"])
    world.set_training_job("tickets-a1", "Created", "Suspended")
    missing = world.wait_for_condition("tickets", "Admitted", "False", "QueueMissing")
    assert "LocalQueue team-a does not exist" in missing["message"]
    queue = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "team-a"}}
    world.create("localqueues", {**queue, "spec": {"clusterQueue": "gpus"}})
    queued = world.wait_for_condition("tickets", "Admitted", "False", "Queued")
    assert QUOTA in queued["message"]

    world.patch("pytorchjobs", "tickets-a1", {"spec": {"runPolicy": {"suspend": False}}})
    for pod in world.make_workers("tickets-a1"):
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")

    def find_placement() -> Object | None:
        return ((world.get("customizationjobs", "tickets") or {}).get("status") or {}).get("placement")

    placement = world.wait("the placement", find_placement)
    assert placement["crossing"] == 0
    assert placement["groups"] == [
        {"parallelism": "Shard", "group": 0, "nodes": ["node-a", "node-a"], "domains": ["leaf-2"]}
    ]
