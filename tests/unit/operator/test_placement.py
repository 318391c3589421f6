"""The mesh of parallelisms as groups of pods."""

import itertools
from dataclasses import replace

import pytest

from customizer_operator.api.scheduling import Topology
from customizer_operator.plan.placement import (
    Demand,
    Domain,
    Granted,
    Group,
    Mesh,
    Parallelism,
    Slice,
    crosses_nodes,
    find_demand,
    find_granted,
    find_groups,
)

FAST, BLOCK = "nvlink", "leaf"
TOPOLOGY = Topology(fast_domain_label=FAST, block_label=BLOCK)
BLOCKS_ONLY = Topology(block_label=BLOCK)
Row = tuple[str, int, int, str, bool]


def summarize(mesh: Mesh, topology: Topology | None = TOPOLOGY) -> list[Row]:
    return [(str(g.parallelism), g.size, g.count, str(g.domain), g.required) for g in find_groups(mesh, topology)]


@pytest.mark.parametrize(
    ("mesh", "groups", "demand"),
    [
        pytest.param(Mesh(), [], Demand(), id="one GPU has nobody to talk to"),
        pytest.param(
            Mesh(shard=8, processes=8), [("Shard", 1, 1, "Node", True)], Demand(), id="one pod talks within its node"
        ),
        pytest.param(
            Mesh(shard=2, tensor=4, processes=4),
            [("Tensor", 1, 2, "Node", True), ("Shard", 2, 1, "Block", False)],
            Demand(whole=BLOCK),
            id="2 nodes of 4 GPUs, TP 4: each tensor group stays in its node",
        ),
        pytest.param(
            Mesh(tensor=8, processes=4),
            [("Tensor", 2, 1, "FastDomain", True)],
            Demand(whole=FAST, whole_is_required=True),
            id="2 nodes of 4 GPUs, TP 8: both nodes must share the fast domain",
        ),
        pytest.param(
            Mesh(shard=4, tensor=8, processes=4),
            [("Tensor", 2, 4, "FastDomain", True), ("Shard", 8, 1, "Block", False)],
            Demand((Slice(FAST, 2),), BLOCK),
            id="several tensor groups over nodes: each in a fast domain, all of them rather in one block",
        ),
        pytest.param(
            Mesh(shard=64, processes=8),
            [("Shard", 8, 1, "Block", False)],
            Demand(whole=BLOCK),
            id="weights sharded over all pods: rather in one block, but several will do",
        ),
        pytest.param(
            Mesh(pipeline=2, shard=4, tensor=8, processes=8),
            [("Tensor", 1, 8, "Node", True), ("Shard", 4, 2, "Block", True)],
            Demand((Slice(BLOCK, 4),)),
            id="pipeline stages: each in a block, the pipeline goes across",
        ),
        pytest.param(
            Mesh(replicate=4, shard=16, processes=8),
            [("Shard", 2, 4, "Block", True)],
            Demand((Slice(BLOCK, 2),)),
            id="replicas of sharded weights: each replica in a block",
        ),
        pytest.param(
            Mesh(pipeline=2, shard=2, context=4, tensor=8, processes=8),
            [("Tensor", 1, 16, "Node", True), ("Context", 4, 4, "FastDomain", True), ("Shard", 8, 2, "Block", True)],
            Demand((Slice(BLOCK, 8), Slice(FAST, 4))),
            id="context groups within shard groups: two levels of slices, the outer first",
        ),
        pytest.param(
            Mesh(context=2, tensor=16, processes=8),
            [("Tensor", 2, 2, "FastDomain", True), ("Context", 4, 1, "FastDomain", True)],
            Demand(whole=FAST, whole_is_required=True),
            id="a context group that is the whole attempt holds the tensor groups, too",
        ),
        pytest.param(
            Mesh(replicate=3, context=2, tensor=8, processes=8),
            [("Tensor", 1, 6, "Node", True), ("Context", 2, 3, "FastDomain", True)],
            Demand((Slice(FAST, 2),)),
            id="nothing is sharded: only the context groups matter",
        ),
        pytest.param(
            Mesh(replicate=2, shard=16, expert=32, processes=8),
            [("Expert", 4, 1, "FastDomain", True), ("Shard", 2, 2, "Block", True)],
            Demand(whole=FAST, whole_is_required=True),
            id="experts over several replicas: who shares the experts shares the fast domain",
        ),
        pytest.param(
            Mesh(shard=64, expert=16, processes=8),
            [("Expert", 2, 4, "FastDomain", True), ("Shard", 8, 1, "Block", False)],
            Demand((Slice(FAST, 2),), BLOCK),
            id="experts over two pods: each such pair in a fast domain",
        ),
        pytest.param(
            Mesh(shard=2, context=3, tensor=4, processes=8),
            [("Tensor", 1, 3, "Node", True), ("Context", 3, 1, "FastDomain", True), ("Shard", 3, 1, "Block", False)],
            Demand(whole=FAST, whole_is_required=True),
            id="groups that overlap in a pod stay together",
        ),
    ],
)
def test_groups_follow_from_the_mesh(mesh: Mesh, groups: list[Row], demand: Demand) -> None:
    assert summarize(mesh) == groups
    assert find_demand(find_groups(mesh, TOPOLOGY), mesh.pods) == demand


def test_without_a_fast_domain_context_groups_stay_in_the_block() -> None:
    mesh = Mesh(pipeline=2, shard=2, context=2, tensor=8, processes=8)
    assert summarize(mesh, BLOCKS_ONLY)[1:] == [("Context", 2, 4, "Block", True), ("Shard", 4, 2, "Block", True)]
    assert find_demand(find_groups(mesh, BLOCKS_ONLY), mesh.pods) == Demand((Slice(BLOCK, 4),))


@pytest.mark.parametrize(
    ("topology", "domains"),
    [
        pytest.param({}, ["FastDomain", "Block"], id="nothing is known: every group fits"),
        pytest.param({"fast_domain_nodes": 4, "block_nodes": 8}, ["FastDomain", "Block"], id="both just fit"),
        pytest.param({"fast_domain_nodes": 2, "block_nodes": 8}, ["Block", "Block"], id="too many for a fast domain"),
        pytest.param({"fast_domain_nodes": 4, "block_nodes": 4}, ["FastDomain", "Any"], id="too many for a block"),
        pytest.param({"fast_domain_nodes": 2, "block_nodes": 2}, ["Any", "Any"], id="too many for both"),
    ],
)
def test_a_group_stays_in_the_fastest_domain_that_holds_it(topology: dict[str, int], domains: list[str]) -> None:
    mesh = Mesh(pipeline=2, shard=2, context=4, tensor=8, processes=8)
    groups = find_groups(mesh, TOPOLOGY.model_copy(update=topology))
    assert [str(group.domain) for group in groups if group.spans_nodes] == domains


def test_without_labels_nothing_is_asked_for() -> None:
    mesh = Mesh(pipeline=2, shard=4, tensor=8, processes=8)
    assert summarize(mesh, None) == [("Tensor", 1, 8, "Node", True), ("Shard", 4, 2, "Any", False)]
    assert find_demand(find_groups(mesh, None), mesh.pods) == Demand()


@pytest.mark.parametrize(("tensor", "processes", "crosses"), [(4, 4, False), (2, 4, False), (8, 4, True), (3, 4, True)])
def test_a_tensor_group_crosses_nodes_unless_it_divides_a_pod(tensor: int, processes: int, crosses: bool) -> None:
    assert crosses_nodes(Mesh(shard=12, tensor=tensor, processes=processes)) is crosses


def test_every_mesh_gives_groups_that_divide_the_pods() -> None:
    for pipeline in (1, 2, 4):
        for shard in (1, 2, 3, 8):
            for context in (1, 2, 3):
                for tensor in (1, 2, 3, 8, 16):
                    for replicate, processes in ((1, 2), (1, 8), (2, 4)):
                        mesh = Mesh(pipeline, replicate, shard, context, tensor, processes=processes)
                        for expert in (1, shard * context, replicate * shard * context):
                            if mesh.world_size % processes == 0:
                                check(replace(mesh, expert=expert))


def check(mesh: Mesh) -> None:
    groups = find_groups(mesh, TOPOLOGY)
    assert all(group.size * group.count == mesh.pods for group in groups)
    slices = find_demand(groups, mesh.pods).slices
    assert all(outer.size % inner.size == 0 for outer, inner in itertools.pairwise(slices))
    assert len({item.label for item in slices}) == len(slices)


def test_what_was_granted_is_told_by_group_and_a_crossing_is_seen() -> None:
    group = Group(Parallelism.TENSOR, size=2, count=2, domain=Domain.FAST, label=FAST, required=True)
    labels = {"a": {FAST: "1"}, "b": {FAST: "1"}, "c": {FAST: "2"}, "d": {}}
    assert find_granted(group, ["a", "b", "c", "d"], labels) == [
        Granted(0, ("a", "b"), ("1",)),
        Granted(1, ("c", "d"), ("2", "d")),
    ]
    assert find_granted(group, ["d", "unknown", "d", "d"], labels) == [
        Granted(0, ("d", "unknown"), ("d", "unknown")),
        Granted(1, ("d", "d"), ("d",)),
    ]
    assert find_granted(group, ["a", "c", "b", "b"], labels)[0].domains == ("1", "2")
