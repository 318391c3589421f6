"""Which adapters a server must never be given."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.serving import LoraServer
from customizer_trainer.serving.compatibility import check_layers, check_settings

LORA = LoraServer(loading="Call", max_rank=16)
LAYER = "model.layers.0.self_attn.q_proj"
FITS = {f"base_model.model.{LAYER}.lora_A.weight": [8, 64], f"base_model.model.{LAYER}.lora_B.weight": [32, 8]}

NAME = f"base_model.model.{LAYER}.lora_A.weight"
SIZED = {"dtype": "F32", "shape": [8, 64], "data_offsets": [0, 0]}


def write(path: Path, shapes: dict[str, list[int]]) -> None:
    """Writes the header of a safetensors file; nobody reads further."""
    tensors = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    path.write_bytes(frame(json.dumps(tensors)))


def frame(header: str) -> bytes:
    """Returns a safetensors file that is all header."""
    return struct.pack("<Q", len(header)) + header.encode()


def check(adapter: Path, model: Path) -> None:
    """Does all that is done with the files of an adapter."""
    check_settings(adapter)
    check_layers(adapter, model, LORA)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with one layer."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 100}))
    write(folder / "model.safetensors", {f"{LAYER}.weight": [32, 64], "model.norm.weight": [64]})
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of that layer."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    write(folder / "adapter_model.safetensors", FITS)
    return folder


def test_one_that_fits_is_taken(model: Path, adapter: Path) -> None:
    check(adapter, model)


def test_layers_of_a_model_with_longer_names_are_found_by_their_number(model: Path, adapter: Path) -> None:
    write(model / "model.safetensors", {f"language_{LAYER}.weight": [32, 64]})
    check_layers(adapter, model, LORA)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"base_model.model.model.layers.0.mlp.other.lora_A.weight": [8, 64]}, "no linear layer"),
        ({f"base_model.model.{LAYER}.lora_A.weight": [8, 48]}, "48 wide, and the layer of the served model 64"),
        ({f"base_model.model.{LAYER}.lora_B.weight": [48, 8]}, "48 wide, and the layer of the served model 32"),
        ({f"base_model.model.{LAYER}.lora_A.weight": [32, 64]}, "rank is 32, and the server takes at most 16"),
        ({"base_model.model.model.embed_tokens.weight": [120, 64]}, "no matrix of a LoRA adapter"),
        ({}, "no matrices"),
    ],
)
def test_matrices_that_do_not_fit_are_named(model: Path, adapter: Path, shapes: Any, message: str) -> None:
    write(adapter / "adapter_model.safetensors", shapes)
    with pytest.raises(CustomizerError, match=message) as refusal:
        check_layers(adapter, model, LORA)
    assert refusal.value.reason == Reason.ADAPTER_INCOMPATIBLE


def test_a_file_that_is_cut_off_is_refused(model: Path, adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(CustomizerError, match="not a safetensors file"):
        check_layers(adapter, model, LORA)


@pytest.mark.parametrize("vocabulary", [{"a": 0, "b": 100}, ["a"] * 101])
def test_a_larger_vocabulary_is_refused(model: Path, adapter: Path, vocabulary: Any) -> None:
    (adapter / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    with pytest.raises(CustomizerError, match="has token 100; the served model ends at 99"):
        check_layers(adapter, model, LORA)


@pytest.mark.parametrize("tokenizer", [{}, {"model": None}, {"model": {"vocab": {}}}, {"model": {"vocab": []}}])
def test_a_tokenizer_without_tokens_has_none_beyond_the_models(model: Path, adapter: Path, tokenizer: Any) -> None:
    (adapter / "tokenizer.json").write_text(json.dumps(tokenizer))
    check_layers(adapter, model, LORA)


DEEP = "[" * 10_000 + "]" * 10_000
MALFORMED: dict[str, tuple[str, bytes]] = {
    "a token without a number": ("tokenizer.json", b'{"added_tokens": [{}]}'),
    "tokens that are a number": ("tokenizer.json", b'{"added_tokens": 5}'),
    "a vocabulary of words": ("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}'),
    "a vocabulary that is a number": ("tokenizer.json", b'{"model": {"vocab": 5}}'),
    "a tokenizer that is a list": ("tokenizer.json", b"[]"),
    "a tokenizer in depth": ("tokenizer.json", DEEP.encode()),
    "a tokenizer of bytes": ("tokenizer.json", b"\xff\xfe"),
    "settings that are a list": ("adapter_config.json", b"[]"),
    "settings in depth": ("adapter_config.json", DEEP.encode()),
    "weights that are a list": ("adapter_model.safetensors", frame("[]")),
    "weights in depth": ("adapter_model.safetensors", frame(DEEP)),
    "a matrix without a shape": ("adapter_model.safetensors", frame('{"a": {"dtype": "F32"}}')),
    "a shape of words": ("adapter_model.safetensors", frame(json.dumps({NAME: SIZED | {"shape": ["8", "64"]}}))),
    "a shape below zero": ("adapter_model.safetensors", frame(json.dumps({NAME: SIZED | {"shape": [-8, 64]}}))),
    "one offset": ("adapter_model.safetensors", frame(json.dumps({NAME: SIZED | {"data_offsets": [0]}}))),
}


@pytest.mark.parametrize(("name", "content"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_files_of_others_are_refused_by_name(model: Path, adapter: Path, name: str, content: bytes) -> None:
    (adapter / name).write_bytes(content)
    with pytest.raises(CustomizerError, match=name) as refusal:
        check(adapter, model)
    assert refusal.value.reason == Reason.ADAPTER_INCOMPATIBLE


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"use_dora": True}, "DoRA"), ({"modules_to_save": ["lm_head"]}, "modules_to_save"), ({"bias": "all"}, "biases")],
)
def test_what_servers_do_not_load_is_refused(adapter: Path, settings: Any, message: str) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(CustomizerError, match=message):
        check_settings(adapter)
