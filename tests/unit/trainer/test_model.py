import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from customizer_contract.artifact import MANIFEST_FILE
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.model_config import parse_shape
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.commands import fetch, preflight
from customizer_trainer.commands.preflight import check_output, warn_of_schedule
from customizer_trainer.datasets.tokenizing import Tokenizer
from customizer_trainer.model import (
    ModelConfig,
    check_weight_files,
    checkpoint_dtype,
    count_tokens,
    find_context_length,
    load_tokenizer,
    parse_config,
    read_tensor_files,
)
from customizer_trainer.storage.folder import Folder
from customizer_trainer.workspace import Workspace
from tests.unit.trainer.conftest import build_job

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 2048}

CONFIGS: dict[str, tuple[dict[str, Any], ModelConfig]] = {
    "a language model": (LLAMA, ModelConfig("LlamaForCausalLM", "llama", 2048, None, trained_length=2048)),
    "its type, as transformers 5 writes it": (
        {**LLAMA, "dtype": "bfloat16"},
        ModelConfig("LlamaForCausalLM", "llama", 2048, "bfloat16", trained_length=2048),
    ),
    "its type, as transformers 4 wrote it": (
        {**LLAMA, "torch_dtype": "float16"},
        ModelConfig("LlamaForCausalLM", "llama", 2048, "float16", trained_length=2048),
    ),
    "the text part of a larger model": (
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "dtype": "bfloat16",
            "text_config": {"max_position_embeddings": 8192},
        },
        ModelConfig("Gemma3ForConditionalGeneration", "gemma3", 8192, "bfloat16", trained_length=8192),
    ),
}


@pytest.mark.parametrize(("document", "expected"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_configuration_is_read(document: dict[str, Any], expected: ModelConfig) -> None:
    assert parse_config(document) == expected


CONTEXTS: dict[str, tuple[dict[str, Any], int | None]] = {
    "as trained": ({"max_position_embeddings": 2048}, 2048),
    "not said": ({}, None),
    "scaled, and said so": (
        {
            "max_position_embeddings": 131072,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
        },
        131072,
    ),
    "scaled from what was trained": (
        {
            "max_position_embeddings": 32768,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        131072,
    ),
    "scaled by a factor": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2}}, 8192),
    "as transformers 5 writes it": (
        {"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
        8192,
    ),
    "of each kind of layer": (
        {
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default"},
                "full_attention": {"rope_type": "linear", "factor": 8.0},
            },
        },
        32768,
    ),
    "in no words": ({"max_position_embeddings": 4096, "rope_scaling": "yes"}, 4096),
}


@pytest.mark.parametrize(("text", "length"), CONTEXTS.values(), ids=CONTEXTS.keys())
def test_a_models_context_is(text: dict[str, Any], length: int | None) -> None:
    assert find_context_length(text) == length


MEASURES = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "vocab_size": 49152,
}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "as many heads of keys as of queries, where none are named": (MEASURES, {"key_value_heads": 9, "head_size": 64}),
    "fewer of keys": ({**MEASURES, "num_key_value_heads": 3}, {"key_value_heads": 3}),
    "heads of a size of their own": ({**MEASURES, "head_dim": 128}, {"head_size": 128, "query_size": 1152}),
    "a head that is the embedding": ({**MEASURES, "tie_word_embeddings": True}, {"tied_embeddings": True}),
    "experts": (
        {**MEASURES, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
        {"experts": 64, "experts_per_token": 8, "expert_size": 768},
    ),
    "experts as wide as the dense layers": (
        {**MEASURES, "num_local_experts": 8, "num_experts_per_tok": 2},
        {"experts": 8, "expert_size": 1536},
    ),
    "other words": ({"n_layer": 12, "n_head": 12, "n_embd": 768}, None),
    "no number": ({**MEASURES, "vocab_size": "many"}, None),
}


@pytest.mark.parametrize(("text", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_a_models_measures_are_read(text: dict[str, Any], expected: dict[str, Any] | None) -> None:
    shape = parse_shape(text)
    if expected is None:
        assert shape is None
    else:
        assert shape is not None
        assert {name: getattr(shape, name) for name in expected} == expected


@pytest.mark.parametrize(
    "document", [{}, {"architectures": ["BertForMaskedLM"], "model_type": "bert"}, {"model_type": "llama"}]
)
def test_what_generates_no_text_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(CustomizerError) as raised:
        parse_config(document)
    assert raised.value.reason is Reason.MODEL_INVALID


def test_without_a_word_in_the_configuration_the_weights_tell_their_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    assert checkpoint_dtype(tmp_path) == "bfloat16"
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "dtype": "float32"}))
    assert checkpoint_dtype(tmp_path) == "float32"


SHARDS = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}


def test_files_of_weights_that_are_missing_are_found_by_their_index(tmp_path: Path) -> None:
    job = build_job(artifactUri=f"file://{tmp_path}/out", model={"source": {"kind": "local", "path": str(tmp_path)}})
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": SHARDS}))
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(CustomizerError, match=r"Of 2 files of weights .*, 1 are not there: model-00002-of-0") as raised:
        preflight.run(job, Workspace(tmp_path / "workspace"))
    assert (raised.value.reason, raised.value.file) == (Reason.MODEL_INVALID, SHARDS["b.weight"])
    index.write_text('{"weight_map": [')
    with pytest.raises(CustomizerError, match=r"index\.json cannot be read") as raised:
        preflight.run(job, Workspace(tmp_path / "workspace"))
    assert raised.value.reason is Reason.MODEL_INVALID


def test_a_file_of_weights_that_was_cut_off_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model-00002-of-00002.safetensors"
    save_file({"a": np.zeros(1000, np.float32)}, path)
    whole = path.read_bytes()
    check_weight_files(tmp_path)
    job = build_job(model={"source": {"kind": "local", "path": str(tmp_path)}}, artifactUri=f"file://{tmp_path}/out")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for size, message in ((2000, "was cut off: it has 2000 bytes"), (20, "holds no weights"), (4, "has no header")):
        path.write_bytes(whole[:size])
        for command in (preflight, fetch):
            with pytest.raises(CustomizerError, match=message) as raised:
                command.run(job, Workspace(tmp_path / "workspace"))
            assert (raised.value.reason, raised.value.file) == (Reason.MODEL_INVALID, path.name)


def test_an_index_counts_only_where_the_weights_are_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": SHARDS}))
    assert read_tensor_files(tmp_path, [*SHARDS.values(), "model.safetensors.index.json"]) == SHARDS
    assert read_tensor_files(tmp_path, ["model.safetensors", "model.safetensors.index.json"]) == {}
    assert read_tensor_files(tmp_path, ["pytorch_model.bin"]) == {}


def test_chat_data_need_a_chat_template(tokenizer_folder: Path, tmp_path: Path) -> None:
    for path in tokenizer_folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    load_tokenizer(tokenizer_folder, trust_remote_code=False, format_="chat")
    load_tokenizer(tmp_path, trust_remote_code=False, format_="prompt-completion")
    with pytest.raises(CustomizerError) as raised:
        load_tokenizer(tmp_path, trust_remote_code=False, format_="chat")
    assert raised.value.reason is Reason.CHAT_TEMPLATE_MISSING


def test_a_broken_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CustomizerError) as raised:
        load_tokenizer(tmp_path, trust_remote_code=False, format_="chat")
    assert raised.value.reason is Reason.TOKENIZER_INVALID


def test_tokens_of_text_are_counted(tokenizer: Tokenizer, tokenizer_folder: Path) -> None:
    vocabulary = json.loads((tokenizer_folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert count_tokens(tokenizer) == len(vocabulary)


def manifest(uid: str) -> bytes:
    job = {"name": "other", "namespace": "demo", "uid": uid, "specHash": "h"}
    base = {"uri": "s3://bucket/model", "digest": "d"}
    rest = {"metrics": {}, "packages": {}, "createdAt": "2026-01-01T00:00:00Z", "datasetDigest": "d", "step": 1}
    return json.dumps(
        {"name": "n", "type": "adapter", "files": [], "baseModel": base, "promptFormat": "chat", "job": job, **rest}
    ).encode()


def test_an_output_that_is_free_or_our_own_is_accepted() -> None:
    check_output(build_job(), None, None)
    check_output(build_job(), "s3://bucket/out/a", manifest("7c9e"))


@pytest.mark.parametrize(("content", "whose"), [(manifest("other"), "demo/other"), (b"{}", "something else")])
def test_an_output_of_another_job_is_refused(content: bytes, whose: str) -> None:
    with pytest.raises(CustomizerError, match=f"{whose}.* has published there") as raised:
        check_output(build_job(), "s3://bucket/out/a", content)
    assert raised.value.reason is Reason.OUTPUT_EXISTS


def test_files_that_nobody_vouches_for_are_not_overwritten() -> None:
    with pytest.raises(CustomizerError, match=r"s3://bucket/out/model\.safetensors lies there") as raised:
        check_output(build_job(), "s3://bucket/out/model.safetensors", None)
    assert raised.value.reason is Reason.OUTPUT_EXISTS


def test_what_was_uploaded_before_the_job_was_killed_is_its_own(tmp_path: Path) -> None:
    model = {"source": {"kind": "local", "path": str(tmp_path / "nothing")}}
    job = build_job(artifactUri=f"file://{tmp_path}/out", model=model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_config.json").touch()

    def check() -> Reason:
        with pytest.raises(CustomizerError) as raised:
            preflight.run(job, Workspace(tmp_path / "workspace"))
        return raised.value.reason

    assert check() is Reason.OUTPUT_EXISTS
    store, checkpoint = CheckpointStore(Folder(), job), Checkpoint(step=1, attempt=1, nodes=1)
    store.upload_part(checkpoint, 0, tmp_path / "out")
    assert store.complete(checkpoint, lambda: False)
    assert check() is Reason.MODEL_NOT_FOUND, "it has gone on to what it looks at next"
    (tmp_path / "out" / MANIFEST_FILE).write_bytes(manifest("other"))
    assert check() is Reason.OUTPUT_EXISTS


def test_what_the_schedule_will_not_do_is_told() -> None:
    assert warn_of_schedule(build_job(), 100) == []
    job = build_job(automodel={"optimizer": {"warmupSteps": 50}})
    assert warn_of_schedule(job, 4) == [
        "A warm-up of 50 steps does not fit into 1 steps: 0 are taken.",
        "4 training samples are less than a batch of 8: one step an epoch.",
    ]
