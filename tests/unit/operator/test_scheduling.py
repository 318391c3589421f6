"""What the scheduler is told of an attempt."""

import json
from typing import Any

import pytest

from customizer_operator.api.scheduling import Scheduling
from customizer_operator.objects.images import Images
from customizer_operator.objects.scheduling import (
    build_affinity,
    build_pod_annotations,
    build_pod_group,
    build_queue_labels,
)
from customizer_operator.objects.training import build_training
from customizer_operator.plan.placement import Mesh
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
    ("mesh", "required", "preferred"),
    [
        pytest.param(Mesh(shard=16, processes=8), [], ["leaf"], id="shards: one block"),
        pytest.param(Mesh(shard=2, context=2, tensor=8, processes=8), [], ["nvlink", "leaf"], id="contexts: both"),
        pytest.param(Mesh(shard=2, tensor=8, processes=4), ["nvlink"], ["leaf"], id="tensor: the fast one"),
    ],
)
def test_without_a_queue_the_pods_attract_each_other(mesh: Mesh, required: list[str], preferred: list[str]) -> None:
    scheduling = Scheduling.model_validate({"topology": TOPOLOGY})
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
    assert item["metadata"]["annotations"] == {"kai.scheduler/topology": "gpus"}
    assert template["metadata"]["annotations"] == {
        "kai.scheduler/segment-size": "2",
        "kai.scheduler/segment-topology-required-placement": "nvlink",
    }
    assert template["spec"]["schedulerName"] == "kai-scheduler"
    assert "suspend" not in item["spec"]["runPolicy"]


def test_kai_is_told_of_the_domain_of_the_whole() -> None:
    annotations = build_with("KAI", {"numNodes": 4}, queue="team-a")["metadata"]["annotations"]
    assert annotations == {"kai.scheduler/topology": "gpus", "kai.scheduler/topology-preferred-placement": "leaf"}


@pytest.mark.parametrize(
    ("mesh", "topology"),
    [
        pytest.param(Mesh(shard=8, processes=8), None, id="a single pod"),
        pytest.param(Mesh(shard=64, processes=8), {"mode": "soft"}, id="shards: rather together"),
        pytest.param(
            Mesh(shard=2, tensor=8, processes=4),
            {"mode": "hard", "highestTierName": "nvlink"},
            id="tensor over nodes: together",
        ),
    ],
)
def test_volcano_gets_a_pod_group_that_goes_with_its_attempt(mesh: Mesh, topology: dict[str, str] | None) -> None:
    owner = build_with("Volcano", {"numNodes": 2})
    owner["metadata"]["uid"] = "uid-2"
    scheduling = Scheduling.model_validate({"scheduler": "Volcano", "queue": "team-a", "topology": TOPOLOGY})
    group = build_pod_group(owner, scheduling, mesh)
    assert group is not None
    assert group["metadata"]["ownerReferences"][0]["uid"] == "uid-2"
    assert (group["spec"]["minMember"], group["spec"]["queue"]) == (mesh.pods, "team-a")
    assert group["spec"].get("networkTopology") == topology
    template = owner["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    assert template["metadata"]["annotations"] == {"scheduling.k8s.io/group-name": group["metadata"]["name"]}
    assert template["spec"]["schedulerName"] == "volcano"
