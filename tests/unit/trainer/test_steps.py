"""Samples become steps by the same arithmetic, whatever the backend."""

from typing import Any

import pytest
from pydantic import ValidationError

from customizer_contract.packing import PackedTraining
from customizer_contract.steps import Steps, count_steps, data_parallel_size, gradient_accumulation_steps
from tests.unit.trainer.conftest import build_job

CASES: dict[str, tuple[str, dict[str, Any], Steps]] = {
    "automodel: an epoch": ("automodel", {}, Steps(per_epoch=13, total=13, warmup=0, validate_every=13)),
    "automodel: max steps only shorten": (
        "automodel",
        {"schedule": {"maxSteps": 50}, "optimizer": {"warmupSteps": 50}},
        Steps(per_epoch=13, total=13, warmup=12, validate_every=13),
    ),
    "automodel: 1.0 is an epoch": (
        "automodel",
        {"schedule": {"epochs": 2, "valCheckInterval": 1}},
        Steps(per_epoch=13, total=26, warmup=0, validate_every=13),
    ),
    "automodel: above 1.0 are steps": (
        "automodel",
        {"schedule": {"valCheckInterval": 4}},
        Steps(per_epoch=13, total=13, warmup=0, validate_every=4),
    ),
    "unsloth: an epoch": ("unsloth", {}, Steps(per_epoch=100, total=100, warmup=0, validate_every=100)),
    "unsloth: a short last batch is a step": (
        "unsloth",
        {"batch": {"perDeviceTrainBatchSize": 3, "gradientAccumulationSteps": 2}},
        Steps(per_epoch=17, total=17, warmup=0, validate_every=17),
    ),
    "unsloth: max steps extend": (
        "unsloth",
        {"schedule": {"maxSteps": 250, "warmupRatio": 0.1}},
        Steps(per_epoch=100, total=250, warmup=25, validate_every=100),
    ),
    "unsloth: every step": (
        "unsloth",
        {"schedule": {"evalSteps": 1}},
        Steps(per_epoch=100, total=100, warmup=0, validate_every=1),
    ),
}


@pytest.mark.parametrize(("backend", "blocks", "expected"), CASES.values(), ids=CASES.keys())
def test_a_hundred_samples_make_these_steps(backend: str, blocks: dict[str, Any], expected: Steps) -> None:
    job = build_job(**{"automodel": None, backend: blocks})
    assert count_steps(job.outline, 100) == expected


@pytest.mark.parametrize(
    ("parallelism", "expected"),
    [
        pytest.param({}, (16, 4), id="all of them"),
        pytest.param({"tensorParallelSize": 8}, (2, 32), id="tensor parallel"),
        pytest.param({"pipelineParallelSize": 2, "contextParallelSize": 4}, (2, 32), id="pipeline, context parallel"),
        pytest.param({"expertParallelSize": 8, "dataParallelReplicateSize": 2}, (16, 4), id="experts and copies"),
    ],
)
def test_gpus_that_work_on_the_same_samples_count_once(parallelism: dict[str, int], expected: tuple[int, int]) -> None:
    nodes = {"numNodes": 2, "numGpusPerNode": 8}
    outline = build_job(automodel={"batch": {"globalBatchSize": 64}, "parallelism": nodes | parallelism}).outline
    assert (data_parallel_size(outline), gradient_accumulation_steps(outline)) == expected


def test_unsloth_is_one_process_that_accumulates() -> None:
    batch = {"perDeviceTrainBatchSize": 2, "gradientAccumulationSteps": 8}
    outline = build_job(automodel=None, unsloth={"batch": batch}).outline
    assert (data_parallel_size(outline), gradient_accumulation_steps(outline)) == (1, 8)


def test_packs_are_counted_in_place_of_samples() -> None:
    packing = PackedTraining(size=512, packs=30, packs_per_step=4, packs_per_micro_batch=2)
    job = build_job(automodel={"schedule": {"epochs": 2, "valCheckInterval": 0.5}})
    assert count_steps(job.outline, 100, packing) == Steps(per_epoch=8, total=16, warmup=0, validate_every=4)
    assert gradient_accumulation_steps(job.outline, packing) == 2


@pytest.mark.parametrize("backends", [{"automodel": None}, {"unsloth": {}}], ids=["none", "both"])
def test_a_job_file_names_exactly_one_backend(backends: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="name exactly one of automodel and unsloth"):
        build_job(**backends)
