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
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({"__metadata__": {}, **dict.fromkeys(names, empty)}).encode()
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


@pytest.fixture
def rewritten(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the process that holds the weights is asked for."""
    calls: list[tuple[Any, ...]] = []

    def rewrite(form: str, checkpoint: Path, base: Base, target: Path, *, trust_remote_code: bool) -> Path:
        calls.append((form, checkpoint, target))
        return checkpoint

    monkeypatch.setattr(artifact, "rewrite_weights", rewrite)
    return calls


@pytest.mark.parametrize("form", ["merged_16bit", "merged_4bit"])
def test_a_merged_adapter_is_a_model(
    base: Base, checkpoint: Path, tmp_path: Path, rewritten: list[tuple[Any, ...]], form: str
) -> None:
    job = build_job(automodel=None, unsloth={"output": {"saveMethod": form}})
    target = tmp_path / "artifact"
    assert assemble(job, checkpoint, base, target) is None
    assert rewritten == [(form, checkpoint, target)]
    assert files(target) == {"config.json", "tokenizer.json"}


@pytest.mark.parametrize("initial", ["pissa", "olora"])
def test_an_adapter_that_began_with_a_part_of_the_base_is_published_without_it(
    base: Base, checkpoint: Path, tmp_path: Path, rewritten: list[tuple[Any, ...]], initial: str
) -> None:
    settings = checkpoint / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "init_lora_weights": initial}))
    assert assemble(build_job(automodel=None, unsloth={}), checkpoint, base, tmp_path / "artifact") is not None
    assert rewritten == [("lora", checkpoint, tmp_path / "plain")]


def test_a_model_that_was_trained_with_scaled_positions_says_so(base: Base, checkpoint: Path, tmp_path: Path) -> None:
    (base.folder / "config.json").write_text('{"max_position_embeddings": 512}')
    spec = {
        "model": {"loadIn4bit": False, "ropeScaling": {"ropeType": "linear", "factor": 2}},
        "training": {"finetuningType": "all_weights"},
    }
    assemble(build_job(automodel=None, unsloth=spec), checkpoint, base, tmp_path / "artifact")
    config = json.loads((tmp_path / "artifact" / "config.json").read_text())
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
