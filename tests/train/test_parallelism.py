"""However the work is spread, the same losses and gradients as on one process, and the same model afterwards."""

from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from customizer_trainer.backends.automodel.artifact import assemble_model
from customizer_trainer.backends.backend import Base
from tests.train import worlds
from tests.train.spread import SETTINGS, TRAINING, load, newest, train, validation_loss

MESHES: dict[str, dict[str, Any]] = {
    "data": {"numGpusPerNode": 2},
    "tensor": {"numGpusPerNode": 2, "tensorParallelSize": 2},
    "pipeline": {"numGpusPerNode": 2, "pipelineParallelSize": 2},
    "context": {"numGpusPerNode": 2, "contextParallelSize": 2},
    "replicas and shards": {"numGpusPerNode": 4, "dataParallelReplicateSize": 2},
    "data, tensor and sequence": {"numGpusPerNode": 4, "tensorParallelSize": 2, "sequenceParallel": True},
    "pipeline and context": {"numGpusPerNode": 4, "pipelineParallelSize": 2, "contextParallelSize": 2},
}


@pytest.fixture(scope="module")
def alone(server: ForkServerContext, disk: Path) -> worlds.Course:
    """One process."""
    course = train(server, disk, "alone")
    assert len(course.losses) == 3
    assert course.losses[2] < course.losses[0]
    return course


@pytest.mark.parametrize("mesh", MESHES)
def test_parallel_processes_learn_what_one_learns(
    mesh: str, server: ForkServerContext, disk: Path, alone: worlds.Course
) -> None:
    course = train(server, disk, mesh, parallelism=MESHES[mesh])
    assert course.losses == pytest.approx(alone.losses, rel=1e-5)
    assert course.gradient_norms == pytest.approx(alone.gradient_norms, rel=1e-4)
    assert course.validation_losses == pytest.approx(alone.validation_losses, rel=1e-5)
    if "and" in mesh:
        assert published_loss(disk, mesh) == pytest.approx(course.validation_losses[-1], rel=1e-5)


def test_shared_experts_learn_what_those_of_one_process_do(server: ForkServerContext, disk: Path) -> None:
    whole = train(server, disk, "experts", "mixture")
    spread = {"numGpusPerNode": 2, "expertParallelSize": 2}
    shared = train(server, disk, "experts shared", "mixture", parallelism=spread)
    assert shared.losses == pytest.approx(whole.losses, rel=1e-5)
    assert shared.gradient_norms == pytest.approx(whole.gradient_norms, rel=1e-4)
    assert published_loss(disk, "experts shared", "mixture") == pytest.approx(shared.validation_losses[-1], rel=1e-5)


def distillation(ratio: float) -> dict[str, Any]:
    """Returns the training block with a teacher of this share in the loss."""
    how = {"trainingType": "distillation", "distillationRatio": ratio, "teacherPrecision": "fp32"}
    return {**SETTINGS["training"], **how, "distillationTemperature": 2.0}


def test_without_a_share_of_the_teacher_a_student_learns_from_the_data(
    server: ForkServerContext, disk: Path, alone: worlds.Course
) -> None:
    course = train(server, disk, "no teacher", training=distillation(0.0))
    assert course.losses == pytest.approx(alone.losses, rel=1e-5)
    assert course.gradient_norms == pytest.approx(alone.gradient_norms, rel=1e-4)


def test_a_student_learns_from_its_teacher_however_the_work_is_spread(
    server: ForkServerContext, disk: Path, alone: worlds.Course
) -> None:
    course = train(server, disk, "teacher", training=distillation(0.5))
    # Both say the same at first, so that only the data's half of the loss is left.
    assert course.losses[0] == pytest.approx(alone.losses[0] / 2, rel=1e-5)
    assert course.losses[2] != pytest.approx(alone.losses[2] / 2, rel=1e-3)
    mesh = {"numGpusPerNode": 4, "tensorParallelSize": 2}
    spread = train(server, disk, "teacher, data and tensor", training=distillation(0.5), parallelism=mesh)
    assert spread.losses == pytest.approx(course.losses, rel=1e-5)
    assert spread.gradient_norms == pytest.approx(course.gradient_norms, rel=1e-4)
    assert spread.validation_losses == pytest.approx(course.validation_losses, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "parallelism"),
    [
        pytest.param("packed", {}, id="one process"),
        pytest.param("packed pipeline", MESHES["pipeline"], id="pipeline"),
    ],
)
def test_packed_samples_are_learned_as_if_they_were_alone(
    name: str, parallelism: dict[str, Any], server: ForkServerContext, disk: Path
) -> None:
    whole = {"globalBatchSize": TRAINING, "microBatchSize": 4}
    apart = train(server, disk, f"{name}, not", batch=whole)
    assert len(apart.losses) == 1
    together = train(server, disk, name, batch=whole | {"sequencePacking": True}, parallelism=parallelism)
    assert together.losses == pytest.approx(apart.losses, rel=1e-5)
    assert together.gradient_norms == pytest.approx(apart.gradient_norms, rel=1e-4)
    assert together.validation_losses == pytest.approx(apart.validation_losses, rel=1e-5)


def published_loss(disk: Path, name: str, model: str = "model") -> float:
    """Assembles what would be published, and computes its validation loss with transformers."""
    assemble_model(newest(disk, name), Base(disk / model, "base"), disk / name / "artifact")
    return validation_loss(load(disk / name / "artifact"), disk)
