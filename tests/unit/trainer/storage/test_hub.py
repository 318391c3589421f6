from argparse import Namespace
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import HuggingFaceSource, S3Source
from customizer_trainer.storage import hub
from customizer_trainer.storage.sources import parse_address

SOURCE = HuggingFaceSource(repo="org/name", revision="v1")
COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def no_commit_is_known() -> None:
    hub._list.cache_clear()


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub.invalid"))


FAILURES = {
    "a gated repository": (GatedRepoError("g", response=answer(403)), Reason.REPOSITORY_GATED),
    "no such repository": (RepositoryNotFoundError("n", response=answer(404)), Reason.MODEL_NOT_FOUND),
    "no such revision": (RevisionNotFoundError("r", response=answer(404)), Reason.MODEL_NOT_FOUND),
    "a wrong token": (HfHubHTTPError("t", response=answer(401)), Reason.ACCESS_DENIED),
    "a server in trouble": (HfHubHTTPError("s", response=answer(503)), Reason.STORAGE_UNAVAILABLE),
    "no network": (httpx.ConnectError("c"), Reason.STORAGE_UNAVAILABLE),
    "no network, as the library says it": (LocalEntryNotFoundError("l"), Reason.STORAGE_UNAVAILABLE),
}


@pytest.mark.parametrize(("failure", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_the_hub_s_failures_are_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: Reason
) -> None:
    class Api:
        def __init__(self, token: str | None) -> None:
            pass

        def repo_info(self, *_: object, **__: object) -> object:
            raise failure

    monkeypatch.setattr(hub, "HfApi", Api)
    with pytest.raises(CustomizerError) as raised:
        hub.list_files(SOURCE, kind="model", missing=Reason.MODEL_NOT_FOUND)
    assert raised.value.reason is reason
    assert str(raised.value).startswith("hf://org/name@v1: ")


def test_only_the_selected_files_are_downloaded_with_the_token_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setenv("HF_TOKEN", "secret")
    listed: list[str] = []
    commits = iter([COMMIT, "1" * 40])

    class Api:
        def __init__(self, token: str | None) -> None:
            pass

        def repo_info(self, repo: str, *, revision: str, repo_type: str) -> Namespace:
            return Namespace(sha=next(commits))

        def list_repo_tree(self, repo: str, *, revision: str, **_: object) -> list[RepoFile]:
            listed.append(revision)
            return [RepoFile(path=name, size=1, oid="o") for name in ("config.json", "README.md")]

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", lambda repo, **options: asked.update(options, repo=repo))
    paths = hub.download(
        SOURCE, tmp_path, kind="model", missing=Reason.MODEL_NOT_FOUND, select=lambda paths: [*paths][:1]
    )
    assert paths == [tmp_path / "config.json"]
    assert asked == {
        "repo": "org/name",
        "revision": COMMIT,
        "repo_type": "model",
        "local_dir": tmp_path,
        "allow_patterns": ["config.json"],
        "token": "secret",
    }
    assert listed == [COMMIT], "a branch that moves on meanwhile does not mix two commits"


def test_nothing_to_select_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "_list", lambda *_: (COMMIT, [RepoFile(path="README.md", size=1, oid="o")]))
    with pytest.raises(CustomizerError) as raised:
        hub.download(SOURCE, tmp_path, kind="dataset", missing=Reason.DATASET_NOT_FOUND, select=lambda _: [])
    assert raised.value.reason is Reason.DATASET_NOT_FOUND


def test_addresses_of_manifests_are_read_back() -> None:
    assert parse_address("s3://bucket/model") == S3Source(uri="s3://bucket/model")
    assert parse_address("hf://org/name@v1") == SOURCE
    with pytest.raises(CustomizerError):
        parse_address("pvc://claim/model")
