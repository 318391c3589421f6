"""Samples that share a row are trained as if each had one of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customizer_trainer.backends.unsloth.samples import Collator, RowCollator, load_split
from customizer_trainer.datasets.store import IGNORED
from tests.train.harness import Outcome, Pod, Storage, build_job
from tests.train.pods import fetch, train

PACKED: dict[str, Any] = {
    "model": {"maxSeqLength": 128, "loadIn4bit": False},
    "dataset": {"packing": True},
    "training": {"finetuningType": "all_weights"},
    "schedule": {"epochs": 2},
    "batch": {"perDeviceTrainBatchSize": 4, "gradientAccumulationSteps": 2},
    "optimizer": {"learningRate": 0.003, "optim": "adamw_torch"},
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    pod: Pod
    outcome: Outcome


@pytest.fixture(scope="module")
def trained(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished training with packs."""
    job = build_job(storage, "unsloth-packed", data="s3://tests/data/pairs", backend="unsloth", **PACKED)
    pod = Pod(tmp_path_factory.mktemp("packed"), job, storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def test_a_training_with_packs_takes_the_steps_that_were_counted_and_learns(trained: Trained) -> None:
    steps, training = trained.pod.steps(1), trained.outcome.result.training
    last = steps[max(steps)]
    assert training is not None
    assert last.step == training.total_steps
    assert last.epoch == pytest.approx(2), "as many packs as were counted"
    assert last.loss < steps[1].loss - 1


def test_the_loss_of_a_row_is_that_of_its_samples(trained: Trained, model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    samples = trained.pod.disk / "workspace" / "samples"
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    alone, packs = load_split(samples, "training", tmp_path / "1"), load_split(samples, "training", tmp_path / "2", 128)
    assert len(packs) < len(alone) / 2
    assert sorted(token for pack in packs for token in pack["input_ids"]) == sorted(
        token for sample in alone for token in sample["input_ids"]
    )
    losses, learned = [], []
    with torch.no_grad():
        packed = float(loaded(**RowCollator()(list(packs)[:3]), use_cache=False).loss)
        for number in range(3):
            starts = [place for place, position in enumerate(packs[number]["position_ids"]) if position == 0]
            ends = [*starts[1:], len(packs[number]["input_ids"])]
            for start, end in zip(starts, ends, strict=True):
                sample = {name: values[start:end] for name, values in packs[number].items()}
                losses.append(float(loaded(**Collator(0)([sample])).loss))
                learned.append(sum(label != IGNORED for label in sample["labels"]))
    assert packed == pytest.approx(np.average(losses, weights=learned), rel=1e-5)
