"""Why an attempt waits in its queue, and what becomes of one that is only half placed."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.errors import ExitCode
from customizer_operator.api.base import Object
from customizer_operator.plan.plan import LOCAL_QUEUE, POD, POD_GROUP, PYTORCH_JOB
from tests.support import samples
from tests.unit.operator.simulator import World, write_time

QUEUED = {"scheduling": {"queue": "team-a"}}


def new_world(**spec: Any) -> World:
    """Returns a world in which the first attempt exists, and is held back if it has a queue."""
    world = World(samples.job(**spec))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Created", "Suspended")
    return world


def make_workload(*conditions: tuple[str, str, str, str], **status: Any) -> Object:
    entries = [{"type": t, "status": s, "reason": r, "message": m} for t, s, r, m in conditions]
    return {"metadata": {"name": "pytorchjob-tickets"}, "status": {"conditions": entries, **status}}


def make_queue(world: World) -> None:
    world.put(LOCAL_QUEUE, {"metadata": {"name": "team-a"}})


PENDING = (
    "QuotaReserved",
    "False",
    "Pending",
    "insufficient quota for nvidia.com/gpu in flavor h100",
)


@pytest.mark.parametrize(
    ("conditions", "status", "reason", "state", "words"),
    [
        pytest.param([PENDING], {}, "Queued", "Queued", "as number 3 in LocalQueue team-a: insuff", id="no quota"),
        pytest.param([], {}, "Queued", "Queued", "it has not been looked at yet", id="just made"),
        pytest.param(
            [PENDING, ("Evicted", "True", "Preempted", "Preempted for a workload of higher priority")],
            {},
            "Queued",
            "Queued",
            "It was evicted: Preempted for a workload of higher priority.",
            id="preempted before it ran",
        ),
        pytest.param(
            [("QuotaReserved", "True", "QuotaReserved", "ok")],
            {"admissionChecks": [{"name": "capacity", "state": "Pending", "message": "asks for nodes"}]},
            "Queued",
            "Queued",
            "waits for its admission checks: capacity is Pending (asks for nodes)",
            id="an admission check is not through",
        ),
        pytest.param(
            [("QuotaReserved", "False", "Inadmissible", "ClusterQueue gpus is inactive")],
            {},
            "QueueClosed",
            "Stalled",
            "ClusterQueue gpus is inactive. Have the queue corrected.",
            id="the queue is closed",
        ),
    ],
)
def test_kueue_knows_why(conditions: list[Any], status: Object, reason: str, state: str, words: str) -> None:
    world = new_world(**QUEUED)
    make_queue(world)
    world.workloads = [make_workload(*conditions, **status)]
    world.pending = [{"metadata": {"name": "pytorchjob-tickets"}, "positionInLocalQueue": 2}]
    world.settle()
    assert world.condition("Admitted") == ("False", reason)
    assert world.status["state"] == state
    assert words in world.status["message"]


def test_a_queue_that_does_not_exist_is_named() -> None:
    world = new_world(**QUEUED)
    world.workloads = [make_workload(("QuotaReserved", "False", "Inadmissible", "LocalQueue team-a doesn't exist"))]
    world.settle()
    assert world.condition("Admitted") == ("False", "QueueMissing")
    assert "LocalQueue team-a does not exist in namespace team: create it" in world.status["message"]


def test_a_cluster_without_kueue_is_told() -> None:
    world = new_world(**QUEUED)
    world.settle()
    assert world.condition("Admitted") == ("False", "QueueMissing")
    assert "the cluster does not run Kueue: install it, or remove the queue" in world.status["message"]


def test_an_integration_that_is_off_is_told_after_a_while() -> None:
    world = new_world(**QUEUED)
    world.workloads = []
    world.settle()
    assert world.condition("Admitted") == ("False", "PodsPending")
    world.run(60)
    assert world.condition("Admitted") == ("False", "QueueIntegrationOff")
    assert "add kubeflow.org/pytorchjob to integrations.frameworks" in world.status["message"]
    assert world.status["attempt"] == 1


def test_what_kueue_has_admitted_waits_for_its_pods_like_any_other() -> None:
    world = new_world(**QUEUED)
    make_queue(world)
    world.workloads = [make_workload(("QuotaReserved", "True", "", "ok"), ("Admitted", "True", "", "ok"))]
    world.settle()
    assert world.condition("Admitted") == ("False", "PodsPending")
    set_suspended(world, held=False)
    world.run_pods(*world.make_workers(1))
    world.settle()
    assert world.condition("Running")[0] == "True"


def test_volcano_gets_the_pod_group_of_each_attempt_or_the_job_says_that_it_is_missing() -> None:
    world = new_world(scheduling={"scheduler": "Volcano"})
    assert world.condition("Admitted") == ("False", "QueueMissing")
    assert "install Volcano" in world.status["message"]
    world.served.add(POD_GROUP)
    world.settle()
    group = world.objects[POD_GROUP, "tickets-a1"]
    assert group["metadata"]["ownerReferences"][0]["uid"] == world.objects[PYTORCH_JOB, "tickets-a1"]["metadata"]["uid"]
    assert world.condition("Admitted") == ("False", "PodsPending")


def test_an_attempt_that_kueue_preempts_is_followed_by_one_that_queues_again_and_nothing_is_counted() -> None:
    world = new_world(**QUEUED)
    make_queue(world)
    world.workloads = [make_workload(("QuotaReserved", "True", "", "ok"), ("Admitted", "True", "", "ok"))]
    set_suspended(world, held=False)
    pods = world.make_workers(1)
    world.run_pods(*pods)
    world.settle()
    set_suspended(world, held=True)
    for pod in pods:
        world.end_pod(pod, ExitCode.PREEMPTED)
    world.run(5)
    world.remove_pods()
    world.run(60)
    first, second = world.status["attempts"]
    assert (first["outcome"], first["reason"]) == ("Preempted", "Preempted")
    assert second["number"] == 2
    assert world.objects[PYTORCH_JOB, "tickets-a2"]["spec"]["runPolicy"]["suspend"] is True
    assert world.condition("Failed") == ("False", "AsExpected")


def set_suspended(world: World, *, held: bool) -> None:
    job = copy.deepcopy(world.objects[PYTORCH_JOB, "tickets-a1"])
    job["spec"]["runPolicy"]["suspend"] = held
    world.put(PYTORCH_JOB, job)


def place_one(world: World, name: str, node: str) -> None:
    pod = copy.deepcopy(world.objects[POD, name])
    pod["spec"]["nodeName"] = node
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": write_time(world.now)}
    pod["status"]["conditions"] = [placed]
    world.put(POD, pod)


def test_a_half_placed_attempt_gives_its_nodes_back_pauses_longer_each_time_and_is_counted() -> None:
    world = new_world()
    for number in (1, 2):
        place_one(world, world.make_workers(number)[0], "node-a")
        world.run(240)
        assert world.status["attempts"][-1].get("outcome") is None
        world.run(300)
        world.remove_pods()
        world.run(60)
    first, second, _ = world.status["attempts"]
    assert (first["outcome"], first["reason"]) == (second["outcome"], second["reason"]) == ("Released", "HalfPlaced")
    assert "1 of 2 pods held a node" in first["message"]
    assert world.condition("Failed") == ("False", "AsExpected")


def test_two_jobs_that_block_each_other_do_not_give_up_together() -> None:
    ends = []
    for uid in ("uid-a", "uid-b"):
        item = samples.job()
        item["metadata"]["uid"] = uid
        world = World(item)
        world.settle()
        world.pass_preflight(samples.passed())
        world.settle()
        began = world.now
        place_one(world, world.make_workers(1)[0], "node-a")
        while world.status["attempts"][0].get("outcome") is None:
            world.run(10)
        ends.append(world.now - began)
    assert abs(ends[0] - ends[1]) >= timedelta(seconds=10)


@pytest.mark.parametrize(
    ("scheduling", "kept", "released"),
    [
        ({"queue": "team-a"}, 590, True),
        ({"queue": "team-a", "topology": {}}, 590, True),
        ({"queue": "team-a", "topology": {"blockLabel": "leaf"}}, 3600, False),
        ({"scheduler": "Volcano"}, 3600, False),
        ({"scheduler": "KAI", "queue": "team-a"}, 3600, False),
    ],
    ids=["quota alone", "a topology without labels", "Kueue with labels", "Volcano", "KAI"],
)
def test_an_attempt_is_released_unless_somebody_places_all_of_it_or_nothing(
    scheduling: dict[str, Any], kept: int, released: bool
) -> None:
    world = new_world(scheduling=scheduling)
    world.workloads = []
    place_one(world, world.make_workers(1)[0], "node-a")
    world.run(kept)
    assert world.status["attempts"][0].get("outcome") is None
    world.run(400)
    first = world.status["attempts"][0]
    assert first.get("outcome") == ("Released" if released else None)
    assert not released or "A queue with labels (spec.scheduling.queue and topology), Volcano" in first["message"]
