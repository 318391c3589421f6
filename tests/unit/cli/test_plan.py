"""`customizer plan`: the numbers of a job, and the nearest job that works."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from customizer_operator.cli.__main__ import main
from tests.support import samples


def plan(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *options: str,
    scheduling: dict[str, Any] | None = None,
    **automodel: Any,
) -> tuple[int, str]:
    """Returns the exit code, and what was printed."""
    file = tmp_path / "job.yaml"
    spec = {"automodel": automodel, "compute": {"device": "gpu"}, "scheduling": scheduling or {}}
    file.write_text(json.dumps(samples.job(**spec)))
    code = main(["plan", "-f", str(file), *options])
    return code, capsys.readouterr().out


def find_numbers(text: str) -> dict[str, str]:
    """Reads the table."""
    rows = (line.split() for line in text.splitlines() if line.startswith("  "))
    return {row[0]: row[1] for row in rows}


def test_a_job_is_told_in_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text = plan(
        capsys,
        tmp_path,
        "--samples=1000",
        batch={"globalBatchSize": 64, "microBatchSize": 2},
        parallelism={"numNodes": 2, "numGpusPerNode": 8},
        schedule={"epochs": 2},
    )
    assert code == 0
    assert find_numbers(text) == find_numbers(text) | {
        "nodes": "2",
        "gpusPerNode": "8",
        "worldSize": "16",
        "dataParallelSize": "16",
        "gradientAccumulationSteps": "2",
        "stepsPerEpoch": "16",
        "totalSteps": "32",
        "tokensPerStep": "131072",
    }


def test_placement_is_told_by_group(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spread = {"numNodes": 4, "numGpusPerNode": 4, "tensorParallelSize": 4, "pipelineParallelSize": 2}
    code, text = plan(capsys, tmp_path, parallelism=spread, batch={"globalBatchSize": 16, "microBatchSize": 2})
    assert code == 0
    told = [" ".join(line.split()) for line in text.splitlines() if "placement" in line]
    assert told == [
        "placement Tensor 4 x 1 pod each, within the node",
        "placement Shard 2 x 2 pods each, anywhere: no label is named that tells more",
    ]


@pytest.mark.parametrize(
    ("scheduling", "words"),
    [
        ({}, ["rather within", "rather within"]),
        ({"queue": "team-a"}, ["within", "within"]),
        (
            {"scheduler": "KAI", "queue": "team-a"},
            ["within", "for want of a way to ask the scheduler for it, by chance within"],
        ),
    ],
    ids=["attraction", "Kueue", "KAI"],
)
def test_it_is_told_what_each_scheduler_is_asked_for(
    scheduling: dict[str, Any], words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spread = {"numNodes": 8, "numGpusPerNode": 8, "pipelineParallelSize": 2, "contextParallelSize": 16}
    topology = {"fastDomainLabel": "nvlink", "blockLabel": "leaf"}
    if "scheduler" in scheduling:
        topology["name"] = "gpus"
    code, text = plan(
        capsys,
        tmp_path,
        scheduling={**scheduling, "topology": topology},
        parallelism=spread,
        batch={"globalBatchSize": 16, "microBatchSize": 2},
    )
    assert code == 0, text
    context, shard = [" ".join(line.split()) for line in text.splitlines() if "placement" in line]
    assert context == f"placement Context 4 x 2 pods each, {words[0]} one value of nvlink"
    assert shard == f"placement Shard 2 x 4 pods each, {words[1]} one value of leaf"


def test_a_job_of_unsloth_is_told_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[3] / "manifests" / "examples" / "customization-job-unsloth.yaml"
    assert main(["plan", "-f", str(example), "--samples=1000"]) == 0
    numbers = find_numbers(capsys.readouterr().out)
    assert (numbers["worldSize"], numbers["gradientAccumulationSteps"]) == ("1", "8")
    assert (numbers["totalSteps"], numbers["tokensPerStep"]) == ("126", "65536")


def test_without_the_number_of_samples_the_steps_are_not_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = plan(capsys, tmp_path)
    assert code == 0
    assert find_numbers(text)["totalSteps"] == "-"
    assert "Give --samples N." in text


def test_with_the_models_configuration_memory_and_transfers_are_estimated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(samples.LLAMA))
    code, text = plan(capsys, tmp_path, "--samples=1000", f"--model-config={tmp_path / 'config.json'}")
    assert code == 0
    numbers = find_numbers(text)
    assert numbers["estimatedMemoryPerGpu"].endswith("Gi")
    assert (numbers["transfers.model"], numbers["transfers.dataset"]) == ("15.0Gi", "-")
    assert (numbers["transfers.checkpoint"], numbers["transfers.artifact"]) == ("240.0Mi", "80.0Mi")


@pytest.mark.parametrize(("text", "words"), [("{}", "no measures of a model"), ("[]", "not a JSON object"), ("{", "")])
def test_a_file_that_describes_no_model_is_unreadable(
    text: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "job.yaml").write_text(json.dumps(samples.job()))
    assert main(["plan", "-f", f"{tmp_path}/job.yaml", f"--model-config={tmp_path}/config.json"]) == 2
    told = capsys.readouterr().err
    assert "config.json" in told
    assert words in told


def test_a_job_of_a_cluster_brings_what_preflight_has_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = json.loads(samples.passed())
    job = {**samples.job(), "status": {"dataset": found["dataset"], "model": found["model"]}}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    assert main(["plan", "-f", str(tmp_path / "job.yaml")]) == 0
    assert find_numbers(capsys.readouterr().out)["totalSteps"] == "10"


@pytest.mark.parametrize(
    ("automodel", "suggestions"),
    [
        pytest.param(
            {"batch": {"globalBatchSize": 70, "microBatchSize": 2}, "parallelism": {"numGpusPerNode": 16}},
            ["batch.globalBatchSize: 64", "parallelism.numGpusPerNode: 7"],
            id="the nearest batch, or fewer GPUs",
        ),
        pytest.param(
            {"batch": {"globalBatchSize": 6, "microBatchSize": 4}},
            ["batch.globalBatchSize: 4", "batch.microBatchSize: 3"],
            id="a batch between two that work",
        ),
        pytest.param(
            {"batch": {"globalBatchSize": 16}, "parallelism": {"numNodes": 3, "numGpusPerNode": 4}},
            ["batch.globalBatchSize: 12", "parallelism.numNodes: 2"],
            id="nodes that do not divide the batch",
        ),
        pytest.param(
            {"parallelism": {"numNodes": 2, "numGpusPerNode": 4, "tensorParallelSize": 8}},
            ["parallelism.numGpusPerNode: 8", "parallelism.tensorParallelSize: 4"],
            id="a tensor-parallel group over two nodes",
        ),
    ],
)
def test_what_does_not_work_is_refused_with_the_nearest_that_does(
    automodel: dict[str, Any], suggestions: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, text = plan(capsys, tmp_path, **automodel)
    assert code == 1
    assert "batch.globalBatchSize must be a multiple" in text or "a tensor-parallel group stays within a pod" in text
    offered = [line.strip().removeprefix("spec.automodel.") for line in text.splitlines() if line.startswith("    ")]
    assert offered == suggestions


def test_every_suggestion_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = {"batch": {"globalBatchSize": 70, "microBatchSize": 2}, "parallelism": {"numGpusPerNode": 16}}
    _, text = plan(capsys, tmp_path, **asked)
    for line in text.splitlines():
        if line.startswith("    "):
            place, _, value = line.strip().partition(": ")
            group, field = place.split(".")[-2:]
            changed = {**asked, group: {**asked[group], field: int(value)}}
            assert plan(capsys, tmp_path, **changed)[0] == 0


def test_a_deployment_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    examples = Path(__file__).parents[3] / "manifests" / "examples"
    assert main(["plan", "-f", str(examples / "model-deployment.yaml")]) == 0
    assert re.fullmatch(r"ModelDeployment/[a-z-]+: trains nothing\n", capsys.readouterr().out)
