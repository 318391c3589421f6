import json
import struct
from pathlib import Path
from typing import Any

import pytest

from customizer_trainer.backends.backend import Base
from customizer_trainer.backends.unsloth import artifact
from customizer_trainer.backends.unsloth.artifact import assemble
from tests.unit.trainer.conftest import build_job

LAYER = "base_model.model.model.layers.0.self_attn"


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """A base model's folder, named as its user does."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(f"base {name}")
    return Base(folder, "org/model")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with an adapter and weights, and what is only needed in order to resume."""
    folder = tmp_path / "checkpoint-8"
    folder.mkdir()
    config = {"base_model_name_or_path": "/workspace/model", "r": 8, "lora_alpha": 16, "target_modules": "(?:.*?)proj"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    names = [f"{LAYER}.{module}.lora_{part}.weight" for module in ("v_proj", "q_proj") for part in "AB"]
    header = json.dumps({"__metadata__": {}, **{name: {} for name in names}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    for name in ("model.safetensors", "optimizer.pt", "config.json"):
        (folder / name).write_text(f"trained {name}")
    return folder


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_adapter_names_its_base_as_the_user_does_and_its_layers_by_its_weights(
    base: Base, checkpoint: Path, tmp_path: Path
) -> None:
    target = tmp_path / "artifact"
    adapter = assemble(build_job(automodel=None, unsloth={}), checkpoint, base, target)
    assert adapter is not None
    assert (adapter.rank, adapter.alpha, adapter.target_modules) == (8, 16, ["q_proj", "v_proj"])
    assert files(target) == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((target / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/model"


def test_all_weights_are_a_model_with_the_settings_of_its_base(base: Base, checkpoint: Path, tmp_path: Path) -> None:
    spec = {"model": {"loadIn4bit": False}, "training": {"finetuningType": "all_weights"}}
    target = tmp_path / "artifact"
    assert assemble(build_job(automodel=None, unsloth=spec), checkpoint, base, target) is None
    assert files(target) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (target / "model.safetensors").read_text() == "trained model.safetensors"
    assert (target / "config.json").read_text() == "base config.json"


def test_a_merged_adapter_is_a_model(
    base: Base, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[tuple[Any, ...]] = []
    monkeypatch.setattr(artifact, "merge_adapter", lambda *what, **how: merged.append((*what, how)))
    job = build_job(automodel=None, unsloth={"output": {"saveMethod": "merged_16bit"}})
    assert assemble(job, checkpoint, base, tmp_path / "artifact") is None
    assert merged == [(checkpoint, base, tmp_path / "artifact", {"trust_remote_code": False})]
