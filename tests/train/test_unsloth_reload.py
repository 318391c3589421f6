"""A result of Unsloth is loaded again as it was trained: an adapter's base with the scaling of its rotation."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customizer_trainer.datasets.store import MEASURES, SampleWriter, write_indices
from customizer_trainer.reloading import reload
from tests.unit.trainer.conftest import build_job

SCALINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear": ({"ropeType": "linear", "factor": 16}, {"rope_type": "linear", "factor": 16.0}),
    "yarn": (
        {"ropeType": "yarn", "factor": 16, "originalMaxPositionEmbeddings": 32},
        {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 32},
    ),
    "llama3": (
        {"ropeType": "llama3", "factor": 16, "lowFreqFactor": 1, "highFreqFactor": 4},
        {
            "rope_type": "llama3",
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
    ),
}


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model that has an effect, though none that was learned."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapter")
    # The tiny model's attention looks everywhere alike, wherever tokens stand; with this it does not.
    strong = LoraConfig(lora_alpha=64, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), strong).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    """One long sample."""
    chance = random.Random(1)
    return [chance.randrange(3, 380) for _ in range(400)]


@pytest.fixture(scope="module")
def samples(tokens: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, to be validated on."""
    folder = tmp_path_factory.mktemp("samples")
    with SampleWriter(folder / "store") as writer:
        measures = np.array([(0, 0, 0, len(tokens), len(tokens))], dtype=MEASURES)
        writer.add(measures, np.array(tokens, dtype=np.int32).tobytes(), bytes([True] * len(tokens)))
    write_indices(folder / "validation.npy", [0])
    return folder


@pytest.mark.parametrize("kind", SCALINGS)
def test_an_adapters_base_is_loaded_with_the_scaling_it_was_trained_with(
    kind: str, model: Path, adapter: Path, samples: Path, tokens: list[int], tmp_path: Path
) -> None:
    asked, known = SCALINGS[kind]
    expected = lose(model, adapter, tokens, rope_parameters={**known, "rope_theta": 10000.0})
    assert expected != pytest.approx(lose(model, adapter, tokens), rel=1e-4)
    unsloth = {"model": {"ropeScaling": asked}}
    job = build_job(device="cpu", automodel=None, unsloth=unsloth)
    reloaded = reload(job, adapter, model, samples, tmp_path / "reloaded.json")
    assert [row.loss for row in reloaded.rows] == pytest.approx([expected], rel=1e-6)


def lose(model: Path, adapter: Path, tokens: list[int], **options: Any) -> float:
    """Computes the loss with transformers and peft alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, **options), adapter).eval()
    row = torch.tensor([tokens])
    with torch.no_grad():
        return float(loaded(input_ids=row, labels=row).loss)
