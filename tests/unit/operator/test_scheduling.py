"""What the scheduler is told of an attempt."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from customizer_operator.api.scheduling import Scheduling
from customizer_operator.objects.images import Images
from customizer_operator.objects.scheduling import (
    build_affinity,
    build_pod_annotations,
    build_pod_group,
    build_queue_labels,
    find_asked,
)
from customizer_operator.objects.training import build_training
from customizer_operator.plan.placement import Mesh, find_groups
from tests.cluster import settings
from tests.cluster.commands import CommandError, run
from tests.unit.operator.test_objects import new_job

TOPOLOGY = {"fastDomainLabel": "nvlink", "blockLabel": "leaf", "allowTensorParallelAcrossNodes": True}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def queued(**topology: Any) -> Scheduling:
    return Scheduling.model_validate({"queue": "team-a", **({"topology": topology} if topology else {})})


@pytest.mark.parametrize(
    ("mesh", "annotations"),
    [
        pytest.param(Mesh(shard=8, processes=8), {"unconstrained-topology": "true"}, id="a single pod"),
        pytest.param(Mesh(tensor=8, processes=4), {"required-topology": "nvlink"}, id="all pods in one fast domain"),
        pytest.param(Mesh(shard=64, processes=8), {"preferred-topology": "leaf"}, id="all pods rather in one block"),
        pytest.param(
            Mesh(pipeline=2, shard=32, processes=8),
            {"slice-required-topology": "leaf", "slice-size": "4"},
            id="stages of a pipeline, each in a block",
        ),
        pytest.param(
            Mesh(shard=4, tensor=8, processes=4),
            {"preferred-topology": "leaf", "slice-required-topology": "nvlink", "slice-size": "2"},
            id="tensor groups in fast domains, all of them rather in one block",
        ),
        pytest.param(
            Mesh(pipeline=2, shard=2, context=4, tensor=8, processes=8),
            {
                "slice-required-topology-constraints": json.dumps(
                    [{"topology": "leaf", "size": 8}, {"topology": "nvlink", "size": 4}]
                )
            },
            id="two levels of slices",
        ),
    ],
)
def test_kueue_is_told_which_pods_must_be_near(mesh: Mesh, annotations: dict[str, str]) -> None:
    told = build_pod_annotations(queued(**TOPOLOGY), mesh, "a1")
    assert told == {f"kueue.x-k8s.io/podset-{name}": value for name, value in annotations.items()}


def test_a_queue_without_labels_is_told_of_no_topology_for_its_flavors_may_have_none() -> None:
    assert build_pod_annotations(queued(), Mesh(shard=64, processes=8), "a1") == {}


def test_an_attempt_with_a_queue_is_born_suspended_and_carries_the_labels_that_kueue_reads() -> None:
    scheduling = {"queue": "team-a", "priorityClass": "prod", "topology": {"blockLabel": "leaf"}}
    item = build_training(new_job(scheduling=scheduling), Images(io="i", automodel="a", unsloth="u"), 1)
    labels = item["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team-a"
    assert labels["kueue.x-k8s.io/priority-class"] == "prod"
    assert item["spec"]["runPolicy"]["suspend"] is True
    template = item["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    assert template["metadata"]["annotations"] == {"kueue.x-k8s.io/podset-preferred-topology": "leaf"}
    assert "podAffinity" not in template["spec"]["affinity"]


def test_an_attempt_without_a_queue_starts_at_once() -> None:
    item = build_training(new_job(), Images(io="i", automodel="a", unsloth="u"), 1)
    assert "suspend" not in item["spec"]["runPolicy"]
    assert build_queue_labels(Scheduling()) == {}


@pytest.mark.parametrize(
    ("mesh", "nodes", "required", "preferred"),
    [
        pytest.param(Mesh(shard=16, processes=8), None, [], ["leaf"], id="shards: one block"),
        pytest.param(
            Mesh(shard=2, context=2, tensor=8, processes=8), None, [], ["nvlink", "leaf"], id="contexts: both"
        ),
        pytest.param(Mesh(tensor=8, processes=4), None, ["nvlink"], [], id="one tensor group: the fast one"),
        pytest.param(
            Mesh(shard=2, tensor=8, processes=4), 4, ["nvlink"], ["leaf"], id="tensor groups that fit: the fast one"
        ),
        pytest.param(
            Mesh(shard=4, tensor=16, processes=8), 2, [], ["nvlink", "leaf"], id="8 pods never fit into domains of 2"
        ),
        pytest.param(
            Mesh(shard=4, tensor=16, processes=8), None, [], ["nvlink", "leaf"], id="nor, for all we know, into others"
        ),
        pytest.param(Mesh(replicate=2, shard=32, processes=8), None, [], ["leaf"], id="copies: rather one block"),
    ],
)
def test_without_a_queue_the_pods_attract_each_other_as_far_as_one_domain_may_hold_them_all(
    mesh: Mesh, nodes: int | None, required: list[str], preferred: list[str]
) -> None:
    scheduling = Scheduling.model_validate({"topology": {**TOPOLOGY, "fastDomainNodes": nodes}})
    affinity = build_affinity(scheduling, mesh, "tickets", 1)["affinity"]
    near = affinity["podAffinity"]
    assert [term["topologyKey"] for term in near.get(REQUIRED, [])] == required
    assert [term["podAffinityTerm"]["topologyKey"] for term in near.get(PREFERRED, [])] == preferred
    apart = affinity["podAntiAffinity"][PREFERRED]
    assert [term["podAffinityTerm"]["topologyKey"] for term in apart] == ["kubernetes.io/hostname"]


def build_with(scheduler: str, mesh: dict[str, int], **scheduling: Any) -> dict[str, Any]:
    topology = {**TOPOLOGY, **({"name": "gpus"} if scheduler == "KAI" else {})}
    spread = {"numGpusPerNode": 4, **mesh}
    asked = {"scheduler": scheduler, "topology": topology, **scheduling}
    job = new_job(automodel={"parallelism": spread}, scheduling=asked)
    return build_training(job, Images(io="i", automodel="a", unsloth="u"), 1)


def test_kai_is_told_of_queue_topology_and_the_segments_that_talk_most() -> None:
    mesh = {"numNodes": 8, "tensorParallelSize": 8, "pipelineParallelSize": 2}
    item = build_with("KAI", mesh, queue="team-a", priorityClass="high")
    template = item["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    assert item["metadata"]["labels"]["kai.scheduler/queue"] == "team-a"
    assert item["metadata"]["labels"]["priorityClassName"] == "high"
    # KAI never places a group that names a topology, but no level of it.
    assert "annotations" not in item["metadata"]
    assert template["metadata"]["annotations"] == {
        "kai.scheduler/topology": "gpus",
        "kai.scheduler/segment-size": "2",
        "kai.scheduler/segment-topology-required-placement": "nvlink",
    }
    assert template["spec"]["schedulerName"] == "kai-scheduler"
    assert "suspend" not in item["spec"]["runPolicy"]


def test_kai_is_told_of_the_domain_of_the_whole() -> None:
    annotations = build_with("KAI", {"numNodes": 4}, queue="team-a")["metadata"]["annotations"]
    assert annotations == {"kai.scheduler/topology": "gpus", "kai.scheduler/topology-preferred-placement": "leaf"}


def build_gang(mesh: Mesh, **topology: Any) -> dict[str, Any]:
    owner = build_with("Volcano", {"numNodes": 2})
    owner["metadata"]["uid"] = "uid-2"
    asked = {"scheduler": "Volcano", "queue": "team-a", "topology": {**TOPOLOGY, **topology}}
    group = build_pod_group(owner, Scheduling.model_validate(asked), mesh)
    assert group is not None
    return group


def test_volcano_gets_a_pod_group_that_goes_with_its_attempt() -> None:
    group = build_gang(Mesh(shard=64, processes=8))
    assert group["metadata"]["ownerReferences"][0]["uid"] == "uid-2"
    assert (group["spec"]["minMember"], group["spec"]["queue"]) == (8, "team-a")
    template = build_with("Volcano", {"numNodes": 2})["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    assert template["metadata"]["annotations"] == {"scheduling.k8s.io/group-name": group["metadata"]["name"]}
    assert template["spec"]["schedulerName"] == "volcano"


SOFT, FAST = {"mode": "soft"}, {"mode": "hard", "highestTierName": "nvlink"}
LEAF = {"mode": "hard", "highestTierName": "leaf"}


@pytest.mark.parametrize(
    ("mesh", "whole", "required", "groups"),
    [
        pytest.param(Mesh(shard=8, processes=8), None, None, [], id="a single pod"),
        pytest.param(Mesh(shard=64, processes=8), SOFT, None, [], id="shards: rather together"),
        pytest.param(Mesh(tensor=8, processes=4), FAST, None, [], id="one tensor group over nodes: together"),
        pytest.param(
            Mesh(shard=4, tensor=16, processes=8),
            SOFT,
            FAST,
            [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]],
            id="8 pods in pairs: each pair in a fast domain of 2 nodes",
        ),
        pytest.param(
            Mesh(replicate=2, shard=32, processes=8),
            None,
            LEAF,
            [["0", "1", "2", "3"], ["4", "5", "6", "7"]],
            id="2 copies of 4 pods: each in a block of 4 nodes",
        ),
        pytest.param(
            Mesh(pipeline=2, shard=2, context=2, tensor=8, processes=8),
            SOFT,
            FAST,
            [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]],
            id="groups within groups: the inner ones",
        ),
    ],
)
def test_volcano_keeps_together_what_must_be_and_no_more(
    mesh: Mesh, whole: dict[str, str] | None, required: dict[str, str] | None, groups: list[list[str]]
) -> None:
    spec = build_gang(mesh, fastDomainNodes=2, blockNodes=8 if mesh.replicate == 1 else 4)["spec"]
    assert spec.get("networkTopology") == whole
    policies = spec.get("subGroupPolicy", [])
    assert [policy["networkTopology"] for policy in policies] == [required] * len(groups)
    assert find_subgroups(policies, mesh.pods) == groups
    assert all(policy["subGroupSize"] == len(group) for policy, group in zip(policies, groups, strict=True))
    assert len({policy["name"] for policy in policies}) == len(policies)


def find_subgroups(policies: list[dict[str, Any]], pods: int) -> list[list[str]]:
    """Divides an attempt's pods as Volcano does (getOrCreateSubJob and getSubJobMatchValues in its scheduler/api).

    The first policy counts whose selector holds and whose matchLabelKeys, at least one of them, the pod has.
    """
    template = build_with("Volcano", {"numNodes": 2})["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    found: dict[tuple[str, ...], list[str]] = {}
    for rank in map(str, range(pods)):
        labels = {**template["metadata"]["labels"], "training.kubeflow.org/replica-index": rank}
        for policy in policies:
            [term] = policy["labelSelector"]["matchExpressions"]
            values = [labels[key] for key in policy["matchLabelKeys"] if key in labels]
            if labels[term["key"]] in term["values"] and values:
                found.setdefault((policy["name"], *values), []).append(rank)
                break
    return list(found.values())


ONE, PAIRS, NESTED = (
    Mesh(tensor=16, processes=8),
    Mesh(shard=4, tensor=16, processes=8),
    Mesh(pipeline=2, shard=2, context=2, tensor=8, processes=8),
)
"""A tensor group over nodes; four of them in a shard group; contexts in shard groups, twice."""
COPIES = Mesh(replicate=2, shard=32, processes=8)
OVERLAPPING = Mesh(shard=2, context=3, tensor=4, processes=8)
"""All pods in a fast domain, for the contexts; the shards only wish for a block."""


@pytest.mark.parametrize(
    ("scheduling", "mesh", "asked"),
    [
        pytest.param({}, ONE, {"Tensor": "Required"}, id="attraction: one tensor group"),
        pytest.param(
            {}, PAIRS, {"Tensor": "Preferred", "Shard": "Preferred"}, id="attraction: no more for several of them"
        ),
        pytest.param(
            {"fast": 8}, PAIRS, {"Tensor": "Required", "Shard": "Required"}, id="attraction: a finer domain for all"
        ),
        pytest.param({}, NESTED, {"Context": "Preferred", "Shard": "Preferred"}, id="attraction: contexts"),
        pytest.param({}, COPIES, {"Shard": "Preferred"}, id="attraction: copies"),
        pytest.param({"queue": "q"}, ONE, {"Tensor": "Required"}, id="Kueue: one tensor group"),
        pytest.param({"queue": "q"}, PAIRS, {"Tensor": "Required", "Shard": "Preferred"}, id="Kueue: pairs"),
        pytest.param({"queue": "q"}, NESTED, {"Context": "Required", "Shard": "Required"}, id="Kueue: two levels"),
        pytest.param({"queue": "q"}, COPIES, {"Shard": "Required"}, id="Kueue: copies"),
        pytest.param(
            {"queue": "q"},
            OVERLAPPING,
            {"Context": "Required", "Shard": "Required"},
            id="Kueue: a finer domain",
        ),
        pytest.param(
            {"scheduler": "Volcano"}, PAIRS, {"Tensor": "Required", "Shard": "Preferred"}, id="Volcano: pairs"
        ),
        pytest.param(
            {"scheduler": "Volcano"}, NESTED, {"Context": "Required", "Shard": "Preferred"}, id="Volcano: one level"
        ),
        pytest.param({"scheduler": "Volcano"}, ONE, {"Tensor": "Required"}, id="Volcano: one tensor group"),
        pytest.param({"scheduler": "KAI"}, PAIRS, {"Tensor": "Required", "Shard": "Preferred"}, id="KAI: pairs"),
        pytest.param({"scheduler": "KAI"}, NESTED, {"Context": "Required"}, id="KAI: one level, and no words for more"),
        pytest.param({"scheduler": "KAI"}, COPIES, {"Shard": "Required"}, id="KAI: copies"),
    ],
)
def test_what_is_asked_is_told_by_group(scheduling: dict[str, Any], mesh: Mesh, asked: dict[str, str]) -> None:
    told = find_all_asked(scheduling, mesh)
    assert {group: word for group, word in told.items() if word is not None} == asked


def test_nothing_is_asked_for_without_labels_nor_for_single_pods() -> None:
    mesh = Mesh(shard=4, tensor=8, processes=8)
    assert find_all_asked({}, mesh) == {"Tensor": None, "Shard": "Preferred"}
    for scheduling in (Scheduling(), Scheduling(queue="q")):
        groups = find_groups(mesh, scheduling.topology)
        assert [find_asked(group, scheduling, mesh) for group in groups] == [None, None]


def find_all_asked(asked: dict[str, Any], mesh: Mesh) -> dict[str, str | None]:
    who = {key: value for key, value in asked.items() if key != "fast"}
    topology = {**TOPOLOGY, "fastDomainNodes": asked.get("fast")}
    if who.get("scheduler") == "KAI":
        who["queue"], topology["name"] = "q", "gpus"
    scheduling = Scheduling.model_validate({**who, "topology": topology})
    return {group.parallelism: find_asked(group, scheduling, mesh) for group in find_groups(mesh, scheduling.topology)}


def test_what_is_told_is_what_is_rendered_for_every_mesh() -> None:
    for mesh in (ONE, PAIRS, NESTED, COPIES, OVERLAPPING):
        asked = set(find_all_asked({}, mesh).values())
        plain = Scheduling.model_validate({"topology": TOPOLOGY})
        near = build_affinity(plain, mesh, "tickets", 1)["affinity"]["podAffinity"]
        assert ("Required" in asked) == (REQUIRED in near)
        assert ("Preferred" in asked) == (PREFERRED in near)
        kueue = build_pod_annotations(queued(**TOPOLOGY), mesh, "a1")
        asked = set(find_all_asked({"queue": "q"}, mesh).values())
        assert ("Required" in asked) == any("required" in key for key in kueue)
        assert ("Preferred" in asked) == any("preferred" in key for key in kueue)


CHECK = settings.HERE / "podgroupcheck"


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_volcanos_own_types_take_the_pod_group(tmp_path: Path) -> None:
    group = tmp_path / "group.json"
    group.write_text(json.dumps(build_gang(Mesh(shard=4, tensor=16, processes=8), fastDomainNodes=2)))
    run("go", "run", "-C", CHECK, ".", group)
    group.write_text(group.read_text().replace("subGroupSize", "subgroupSize"))
    with pytest.raises(CommandError, match="unknown field"):
        run("go", "run", "-C", CHECK, ".", group)
