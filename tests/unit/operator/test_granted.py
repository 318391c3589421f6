"""What the status tells of placement: what was asked for, what was granted, and planOnly."""

from typing import Any

import pytest

from tests.support import samples
from tests.unit.operator.simulator import World

TOPOLOGY = {"fastDomainLabel": "nvlink", "blockLabel": "leaf", "allowTensorParallelAcrossNodes": True}
TENSOR_OVER_TWO = {"parallelism": {"numNodes": 4, "numGpusPerNode": 4, "tensorParallelSize": 8}}


def start(world: World) -> None:
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    world.run_pods(*world.make_workers(1))


@pytest.mark.parametrize(
    ("fast", "crossing"),
    [
        pytest.param(["1", "1", "2", "2"], 0, id="each group in a domain of its own"),
        pytest.param(["1", "2", "1", "2"], 2, id="every group over two domains"),
        pytest.param(["1", "", "2", "2"], 1, id="a node without the label"),
    ],
)
def test_what_was_granted_is_told_once_the_pods_have_nodes(fast: list[str], crossing: int) -> None:
    world = World(samples.job(automodel=TENSOR_OVER_TWO, scheduling={"topology": TOPOLOGY}))
    world.nodes = {f"node-{rank}": {"nvlink": value, "leaf": "l1"} for rank, value in enumerate(fast)}
    start(world)
    world.settle()
    asked, granted = world.status["plan"]["placement"], world.status["placement"]
    assert [(group["parallelism"], group["groups"], group["pods"], group["domain"]) for group in asked] == [
        ("Tensor", 2, 2, "FastDomain"),
        ("Shard", 1, 4, "Block"),
    ]
    assert (granted["attempt"], granted["crossing"], granted["tensorParallelCrossesNodes"]) == (1, crossing, True)
    known = [value or f"node-{rank}" for rank, value in enumerate(fast)]
    tensor = [group for group in granted["groups"] if group["parallelism"] == "Tensor"]
    assert [group["nodes"] for group in tensor] == [["node-0", "node-1"], ["node-2", "node-3"]]
    assert [group["domains"] for group in tensor] == [list(dict.fromkeys(known[:2])), list(dict.fromkeys(known[2:]))]


def test_nodes_are_not_asked_for_where_no_label_is_named() -> None:
    world = World(samples.job(automodel={"parallelism": {"numNodes": 2}}))
    start(world)
    world.settle()
    assert world.status["placement"]["crossing"] == 0
    assert world.status["placement"]["tensorParallelCrossesNodes"] is False


def conditions(world: World, *kinds: str) -> dict[str, Any]:
    return {kind: world.condition(kind) for kind in kinds}


def test_plan_only_stops_after_preflight_and_goes_on_when_it_is_taken_back() -> None:
    world = World(samples.job(planOnly=True))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    assert world.status["state"] == "Planned"
    assert world.status["plan"]["totalSteps"] == 10
    assert conditions(world, "DatasetReady", "Admitted", "Reconciling", "Stalled") == {
        "DatasetReady": ("True", "PreflightPassed"),
        "Admitted": ("False", "PlanOnly"),
        "Reconciling": ("False", "AsExpected"),
        "Stalled": ("False", "AsExpected"),
    }
    assert "attempts" not in world.status
    world.set_spec(planOnly=False)
    world.settle()
    assert world.status["attempt"] == 1


@pytest.mark.parametrize(
    "parallelism",
    [
        {"tensorParallelSize": 8},
        {"numNodes": 3, "tensorParallelSize": 2, "contextParallelSize": 4},
        {"dataParallelReplicateSize": 8},
        {"expertParallelSize": 64},
    ],
    ids=str,
)
def test_sizes_that_a_newer_crd_let_through_are_refused_by_name(parallelism: dict[str, int]) -> None:
    world = World(samples.job(automodel={"parallelism": parallelism}))
    world.settle()
    assert world.condition("Failed") == ("True", "InvalidSpec")
    assert "the sizes do not divide numNodes * numGpusPerNode" in world.status["message"]
