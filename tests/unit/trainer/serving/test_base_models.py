"""The state of a base model: named from listings, and held against what was brought."""

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from huggingface_hub.hf_api import RepoFile

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import ModelInput
from customizer_contract.sources import HuggingFaceSource, ObjectStorage, VolumeSource
from customizer_trainer.serving.base_models import check_large_files, find_version, pin_model, stage_model
from customizer_trainer.storage import hub
from customizer_trainer.storage.s3 import S3

WEIGHTS = b"weights"
HUB = ModelInput(source=HuggingFaceSource(repo="org/name", revision="main"))


class Api:
    """A hub with one repository, whose branch moves."""

    sha = "1" * 40
    contents: ClassVar[dict[str, bytes]] = {}
    listed: ClassVar[list[str]] = []

    def __init__(self, **_: object) -> None:
        """Takes a token."""

    def repo_info(self, repo: str, *, revision: str, repo_type: str) -> Any:
        assert (repo, repo_type) == ("org/name", "model")
        return type("Info", (), {"sha": self.sha if revision == "main" else revision})

    def list_repo_tree(self, repo: str, *, revision: str, **_: object) -> list[RepoFile]:
        assert len(revision) == 40, "a branch may move between two calls"
        self.listed.append(revision)
        return [
            RepoFile(
                path=path,
                size=len(content),
                oid=hashlib.sha1(content, usedforsecurity=False).hexdigest(),
                lfs={"size": len(content), "oid": hashlib.sha256(content).hexdigest(), "pointerSize": 1}
                if path.endswith("safetensors")
                else None,
            )
            for path, content in (self.contents if revision == self.sha else {"config.json": b"old"}).items()
        ]


@pytest.fixture
def store() -> S3:
    """A store that nobody asks."""
    return S3(ObjectStorage(endpoint_url="http://127.0.0.1:9"))


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    """Takes the place of the hub."""
    hub._list.cache_clear()
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(Api, "listed", [])
    monkeypatch.setattr(Api, "contents", {"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"words"})
    monkeypatch.setattr(Api, "sha", "1" * 40)
    return Api


def test_a_branch_of_the_hub_is_pinned_to_the_commit_that_was_verified(
    repository: type[Api], store: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = find_version(HUB, store)
    assert version.revision == "1" * 40
    assert pin_model(HUB, version, store).source == HuggingFaceSource(repo="org/name", revision="1" * 40)
    for changed, is_same in (("README.md", True), ("model.safetensors", False)):
        monkeypatch.setattr(repository, "contents", {**repository.contents, changed: b"other"})
        # As another process, for this one has seen the commit.
        hub._list.cache_clear()
        assert (find_version(HUB, store).digest == version.digest) is is_same


def test_a_commit_is_listed_once_however_often_it_is_asked_for(
    repository: type[Api], store: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring(_: str, *, local_dir: Path, revision: str, **__: object) -> None:
        assert revision == repository.sha
        for path, content in repository.contents.items():
            (local_dir / path).write_bytes(content)

    monkeypatch.setattr(hub, "snapshot_download", bring)
    version = find_version(HUB, store)
    hub._list.cache_clear()
    repository.listed.clear()
    folder = tmp_path / "model"
    folder.mkdir()
    stage_model(pin_model(HUB, version, store), store, folder)
    assert repository.listed == [repository.sha]


def test_large_files_are_compared_with_what_the_hub_says_of_them(repository: type[Api], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    check_large_files(HUB, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS[::-1])
    with pytest.raises(CustomizerError, match=r"model\.safetensors differs from what the hub has") as error:
        check_large_files(HUB, tmp_path)
    assert error.value.reason == Reason.ARTIFACT_INVALID


def test_a_model_on_a_volume_that_was_written_to_is_not_the_one_that_was_verified(tmp_path: Path, store: S3) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    model = ModelInput(source=VolumeSource(path=tmp_path, claim_name="models"))
    version = find_version(model, store)
    assert pin_model(model, version, store) == model
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS + b".")
    with pytest.raises(CustomizerError, match="pvc://models: its files were changed after they were verified"):
        pin_model(model, version, store)
