"""However the work is spread, the same losses and gradients as on one process, and the same model afterwards."""

import json
import random
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customizer_contract.packing import PackedTraining
from customizer_trainer.backends.automodel.artifact import assemble_model
from customizer_trainer.backends.automodel.recipe import build_recipe
from customizer_trainer.backends.backend import Base, Inputs
from customizer_trainer.datasets.store import MEASURES, SampleStore, SampleWriter, read_indices, write_indices
from tests.models.tiny import make_tokenizer
from tests.train import worlds
from tests.unit.trainer.conftest import build_job

TRAINING, VALIDATION = 24, 8
SETTINGS: dict[str, Any] = {
    "training": {"finetuningType": "all_weights", "maxSeqLength": 64, "precision": "fp32"},
    "batch": {"globalBatchSize": 8, "microBatchSize": 2},
    "optimizer": {"learningRate": 0.01, "optimizer": "AdamW"},
}
IN_ONE_STEP = PackedTraining(size=64, packs=1, packs_per_step=TRAINING, packs_per_micro_batch=4)
"""All packs that there are make one step, rounded up with empty ones."""

MESHES: dict[str, dict[str, Any]] = {
    "data": {"numGpusPerNode": 2},
    "tensor": {"numGpusPerNode": 2, "tensorParallelSize": 2},
    "pipeline": {"numGpusPerNode": 2, "pipelineParallelSize": 2},
    "context": {"numGpusPerNode": 2, "contextParallelSize": 2},
    "data, tensor and sequence": {"numGpusPerNode": 4, "tensorParallelSize": 2, "sequenceParallel": True},
    "pipeline and context": {"numGpusPerNode": 4, "pipelineParallelSize": 2, "contextParallelSize": 2},
}
SHAPE: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Where ranks start with the library imported."""
    return worlds.context()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose heads are their own, as stages of a pipeline need it, and samples of 8 to 59 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    disk = tmp_path_factory.mktemp("parallelism")
    torch.manual_seed(0)
    # The loss that balances experts is one over a rank's tokens, so that it depends on how these are spread.
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "router_aux_loss_coef": 0.0}
    for name, model in {
        "model": LlamaForCausalLM(LlamaConfig(**SHAPE)),
        "mixture": Qwen3MoeForCausalLM(Qwen3MoeConfig(**SHAPE, **experts, head_dim=16)),
    }.items():
        make_tokenizer(disk / name)
        model.float().save_pretrained(disk / name)
    chance = random.Random(1)
    (disk / "samples").mkdir()
    with SampleWriter(disk / "samples" / "store") as writer:
        for _ in range(TRAINING + VALIDATION):
            tokens = [chance.randrange(3, 380) for _ in range(chance.randrange(8, 60))]
            learned = bytes(place > 3 for place in range(len(tokens)))
            measures = np.array([(0, 0, 0, len(tokens), len(tokens))], dtype=MEASURES)
            writer.add(measures, np.array(tokens, dtype=np.int32).tobytes(), learned)
    write_indices(disk / "samples" / "training.npy", range(TRAINING))
    write_indices(disk / "samples" / "validation.npy", range(TRAINING, TRAINING + VALIDATION))
    return disk


def train(server: ForkServerContext, disk: Path, name: str, model: str = "model", **blocks: Any) -> worlds.Course:
    """Trains an epoch. A teacher is the model itself, before it has learned."""
    settings = SETTINGS | blocks
    distills = settings["training"].get("trainingType") == "distillation"
    teacher = {"source": {"kind": "s3", "uri": "s3://bucket/teacher"}} if distills else None
    job = build_job(device="cpu", automodel=settings, teacher=teacher)
    folder = disk / name
    folder.mkdir()
    inputs = Inputs(
        model=disk / model,
        model_dtype="float32",
        samples=disk / "samples",
        training_samples=TRAINING,
        packing=IN_ONE_STEP if job.outline.packs else None,
        checkpoints=folder / "checkpoints",
        resume=None,
        teacher=disk / "model" if distills else None,
    )
    (folder / "recipe.json").write_text(json.dumps(build_recipe(job, inputs)))
    return worlds.train(server, folder / "recipe.json", folder / "events", job.outline.world_size)


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
    import torch
    from transformers import AutoModelForCausalLM

    (checkpoint,) = (disk / name / "checkpoints").glob("epoch_*")
    assemble_model(checkpoint, Base(disk / model, "base"), disk / name / "artifact")
    loaded, notes = AutoModelForCausalLM.from_pretrained(
        disk / name / "artifact", dtype=torch.float32, output_loading_info=True
    )
    assert not notes["missing_keys"]
    store, total, learned = SampleStore(disk / "samples" / "store"), 0.0, 0
    for number in map(int, read_indices(disk / "samples" / "validation.npy")):
        labels = torch.tensor([store.labels(number)])
        count = int((labels[0, 1:] >= 0).sum())
        with torch.no_grad():
            total += float(loaded(input_ids=torch.tensor([store.tokens(number)]), labels=labels).loss) * count
        learned += count
    return total / learned
