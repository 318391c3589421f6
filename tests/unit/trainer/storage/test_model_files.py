from pathlib import Path

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.storage.digest import combined_digest, model_digest
from customizer_trainer.storage.downloads import DownloadIndex
from customizer_trainer.storage.model_files import select_model, select_outline, select_settings

REPOSITORY = [
    ".gitattributes",
    "README.md",
    "chat_template.jinja",
    "config.json",
    "consolidated.safetensors",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "modeling_own.py",
    "onnx/model.onnx",
    "original/model.safetensors",
    "pytorch_model.bin",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
]


def test_a_model_is_its_settings_and_its_weights_once() -> None:
    assert select_model(REPOSITORY, code=False) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


def test_pickles_are_taken_only_where_nothing_safer_is() -> None:
    assert select_model(["config.json", "pytorch_model.bin"], code=False) == ["config.json", "pytorch_model.bin"]


def test_all_but_the_weights_is_enough_for_looking_at_a_model() -> None:
    assert select_outline(REPOSITORY, code=False) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize(("code", "expected"), [(False, False), (True, True)])
def test_code_comes_only_when_it_may_run(code: bool, expected: bool) -> None:
    assert ("modeling_own.py" in select_settings(REPOSITORY, code=code)) is expected


def test_the_digest_of_a_model_is_that_of_its_configuration_and_weights(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    before = model_digest(tmp_path)
    (tmp_path / "tokenizer.json").write_text("amended")
    assert model_digest(tmp_path) == before
    (tmp_path / "model.safetensors").write_text("trained")
    assert model_digest(tmp_path) != before


def test_a_digest_of_files_does_not_depend_on_their_order() -> None:
    assert combined_digest({"a": "1", "b": "2"}) == combined_digest({"b": "2", "a": "1"})
    assert combined_digest({"a": "1", "b": "2"}) != combined_digest({"a": "2", "b": "1"})


def test_a_download_is_remembered_until_it_is_changed_here_or_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    DownloadIndex(tmp_path).add("a", "etag-1")
    assert DownloadIndex(tmp_path).holds("a", "etag-1", 4)
    assert not DownloadIndex(tmp_path).holds("a", "etag-2", 4)
    assert not DownloadIndex(tmp_path).holds("b", "etag-1", 4)
    (tmp_path / "a").write_text("test")
    assert not DownloadIndex(tmp_path).holds("a", "etag-1", 4)


def test_a_folder_without_a_model_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "not-mounted", target_is_directory=True)
    with pytest.raises(CustomizerError, match="neither a config nor weights") as refusal:
        model_digest(tmp_path / "model")
    assert refusal.value.reason == Reason.MODEL_INVALID
