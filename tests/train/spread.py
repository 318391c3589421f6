"""A small model, its samples, and trainings of it by Automodel's ranks, however the work is spread."""

import json
import random
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

from customizer_contract.packing import PackedTraining
from customizer_trainer.backends.automodel.recipe import build_recipe
from customizer_trainer.backends.backend import Inputs
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


def make_disk(disk: Path) -> Path:
    """Writes models whose heads are their own, as stages of a pipeline need it, and samples of 8 to 59 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

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


def train(
    server: ForkServerContext, disk: Path, name: str, model: str = "model", resume: Path | None = None, **blocks: Any
) -> worlds.Course:
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
        resume=resume,
        teacher=disk / "model" if distills else None,
    )
    (folder / "recipe.json").write_text(json.dumps(build_recipe(job, inputs)))
    return worlds.train(server, folder / "recipe.json", folder / "events", job.outline.world_size)


def newest(disk: Path, name: str) -> Path:
    """Returns the last checkpoint of a training."""
    return checkpoints(disk, name)[-1]


def checkpoints(disk: Path, name: str) -> list[Path]:
    """Returns the checkpoints of a training."""
    return sorted((disk / name / "checkpoints").glob("epoch_*"))


def load(folder: Path) -> Any:
    """Loads a model as it is published."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded, notes = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not notes["missing_keys"]
    return loaded


def validation_loss(loaded: Any, disk: Path) -> float:
    """Computes the mean loss of a learned token of the validation samples with transformers."""
    import torch

    store, total, learned = SampleStore(disk / "samples" / "store"), 0.0, 0
    for number in map(int, read_indices(disk / "samples" / "validation.npy")):
        labels = torch.tensor([store.labels(number)])
        count = int((labels[0, 1:] >= 0).sum())
        with torch.no_grad():
            total += float(loaded(input_ids=torch.tensor([store.tokens(number)]), labels=labels).loss) * count
        learned += count
    return total / learned
