"""An adapter is learned and published by processes that share the base model as it is by one."""

from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.artifact import AdapterReference
from customizer_trainer.backends.automodel.artifact import assemble_adapter, assemble_merged
from customizer_trainer.backends.backend import Base
from tests.train import worlds
from tests.train.spread import SETTINGS, checkpoints, load, newest, train, validation_loss

LORA: dict[str, Any] = {
    "training": {**SETTINGS["training"], "finetuningType": "lora", "lora": {"rank": 4, "alpha": 8}},
    "schedule": {"epochs": 2, "valCheckInterval": 2},
}
"""Two times three steps; each second one is validated and saved."""
MESHES: dict[str, dict[str, Any]] = {
    "data and tensor": {"numGpusPerNode": 4, "tensorParallelSize": 2},
    "pipeline": {"numGpusPerNode": 2, "pipelineParallelSize": 2},
    "context": {"numGpusPerNode": 2, "contextParallelSize": 2},
    "tensor and sequence": {"numGpusPerNode": 2, "tensorParallelSize": 2, "sequenceParallel": True},
}


@pytest.fixture(scope="module")
def adapter(server: ForkServerContext, disk: Path) -> worlds.Course:
    """An adapter, trained by one process for two epochs."""
    course = train(server, disk, "adapter", **LORA)
    assert len(course.losses) == 6
    assert sum(course.losses[3:]) < sum(course.losses[:3])
    return course


@pytest.mark.parametrize("mesh", MESHES)
def test_parallel_processes_learn_the_adapter_that_one_learns(
    mesh: str, server: ForkServerContext, disk: Path, adapter: worlds.Course
) -> None:
    # What an adapter begins with is random, and differs; so they go on with one, in the middle of an epoch.
    begun = checkpoints(disk, "adapter")[0]
    name = f"{mesh}, goes on"
    course = train(server, disk, name, resume=begun, parallelism=MESHES[mesh], **LORA)
    assert course.losses == pytest.approx(adapter.losses[2:], rel=1e-5)
    assert course.gradient_norms == pytest.approx(adapter.gradient_norms[2:], rel=1e-4)
    assert course.validation_losses == pytest.approx(adapter.validation_losses[1:], rel=1e-5)
    assert_published_alike(disk, name, course.validation_losses[-1])


@pytest.mark.parametrize("mesh", MESHES)
def test_an_adapter_that_begins_on_a_mesh_is_published_with_the_loss_that_was_told(
    mesh: str, server: ForkServerContext, disk: Path, adapter: worlds.Course
) -> None:
    course = train(server, disk, mesh, parallelism=MESHES[mesh], **LORA)
    # At first it has no effect.
    assert course.losses[0] == pytest.approx(adapter.losses[0], rel=1e-5)
    assert sum(course.losses[3:]) < sum(course.losses[:3])
    checkpoint, base, folder = newest(disk, mesh), Base(disk / "model", "base"), disk / mesh
    told = pytest.approx(course.validation_losses[-1], rel=1e-5)
    assemble_adapter(checkpoint, base, folder / "artifact")
    assert validation_loss(adapted(disk, folder / "artifact"), disk) == told
    assemble_merged(checkpoint, base, folder / "merged")
    assert validation_loss(load(folder / "merged"), disk) == told


def test_processes_that_share_samples_go_on_where_they_stopped(server: ForkServerContext, disk: Path) -> None:
    blocks = {**LORA, "parallelism": MESHES["context"]}
    course = train(server, disk, "unbroken", **blocks)
    resumed = train(server, disk, "broken", resume=checkpoints(disk, "unbroken")[0], **blocks)
    assert resumed.losses == pytest.approx(course.losses[2:], rel=1e-5)


def test_dropout_has_an_effect_once_the_adapter_has_one(
    server: ForkServerContext, disk: Path, adapter: worlds.Course
) -> None:
    lora = {"rank": 4, "alpha": 8, "dropout": 0.5}
    course = train(server, disk, "dropout", **LORA | {"training": {**LORA["training"], "lora": lora}})
    assert course.losses[0] == pytest.approx(adapter.losses[0], rel=1e-5)
    assert course.losses[1] != pytest.approx(adapter.losses[1], rel=1e-5)


def test_another_seed_and_other_modules(server: ForkServerContext, disk: Path, adapter: worlds.Course) -> None:
    lora = {"rank": 2, "alpha": 8, "excludeModules": ["gate_proj", "up_proj", "*.mlp.down*"]}
    blocks = {"training": {**LORA["training"], "lora": lora}, "schedule": {"epochs": 1, "seed": 5}}
    course = train(server, disk, "excluded", **blocks)
    # Nothing is adapted yet, but the samples come in another order.
    assert course.losses[0] != pytest.approx(adapter.losses[0], rel=1e-5)
    published = assemble_adapter(newest(disk, "excluded"), Base(disk / "model", "base"), disk / "excluded" / "artifact")
    assert published == AdapterReference(rank=2, alpha=8, target_modules=["k_proj", "o_proj", "q_proj", "v_proj"])


def assert_published_alike(disk: Path, name: str, loss: float) -> None:
    """Compares the published adapter with that of one process, matrix by matrix, and its loss with what was told."""
    from safetensors.numpy import load_file

    both = {}
    for each in ("adapter", name):
        artifact = disk / each / f"artifact for {name}"
        assemble_adapter(newest(disk, each), Base(disk / "model", "base"), artifact)
        both[each] = load_file(artifact / "adapter_model.safetensors")
    expected, found = both["adapter"], both[name]
    assert found.keys() == expected.keys()
    for matrix, values in expected.items():
        assert found[matrix] == pytest.approx(values, abs=1e-4), matrix
    assert validation_loss(adapted(disk, disk / name / f"artifact for {name}"), disk) == pytest.approx(loss, rel=1e-5)


def adapted(disk: Path, artifact: Path) -> Any:
    """Loads an adapter as it is published, with its base."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load(disk / "model"), artifact)
