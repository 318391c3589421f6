"""The Hugging Face hub."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import HuggingFaceSource, display

_COMMIT = re.compile("[0-9a-f]{40}")
_DENIED = frozenset({401, 403})


def list_files(source: HuggingFaceSource, *, kind: Literal["model", "dataset"], missing: Reason) -> dict[str, int]:
    """Lists the files of a repository, with their bytes."""
    with _errors(source, missing):
        _, found = _list(source.repo, source.revision, kind)
    return {entry.path: entry.size for entry in found}


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of a repository."""

    sha: str
    files: dict[str, str]
    """What tells each file's content: its sha256 if it is a large one, else git's digest of it."""
    large: frozenset[str]
    """Files of which the sha256 is known."""


def find_commit(source: HuggingFaceSource, *, kind: Literal["model", "dataset"], missing: Reason) -> Commit:
    """Resolves a revision, which may be a branch, and lists what it holds."""
    with _errors(source, missing):
        sha, found = _list(source.repo, source.revision, kind)
    return Commit(
        sha=sha,
        files={entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in found},
        large=frozenset(entry.path for entry in found if entry.lfs),
    )


def download(
    source: HuggingFaceSource,
    folder: Path,
    *,
    kind: Literal["model", "dataset"],
    missing: Reason,
    select: Callable[[Iterable[str]], Iterable[str]],
) -> list[Path]:
    """Downloads the selected files of a repository into a folder; returns their local paths.

    Files that are there already in the wanted version are not brought again.
    """
    with _errors(source, missing):
        commit, found = _list(source.repo, source.revision, kind)
    chosen = list(select([entry.path for entry in found]))
    if not chosen:
        raise CustomizerError(missing, f"{display(source)}: nothing there that could be used.")
    with _errors(source, missing):
        snapshot_download(
            source.repo,
            revision=commit,
            repo_type=kind,
            local_dir=folder,
            allow_patterns=chosen,
            token=_token(),
        )
    return [folder / path for path in chosen]


@cache
def _list(repo: str, revision: str, kind: Literal["model", "dataset"]) -> tuple[str, list[RepoFile]]:
    """Returns the commit that a revision names, and its files.

    Asked once, so that one process never sees two commits of a branch; a commit itself does not change.
    """
    api = HfApi(token=_token())
    commit = revision
    if not _COMMIT.fullmatch(revision):
        commit = str(api.repo_info(repo, revision=revision, repo_type=kind).sha)
    tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=kind)
    return commit, [entry for entry in tree if isinstance(entry, RepoFile)]


def _token() -> str | None:
    return os.environ.get("HF_TOKEN")


@contextmanager
def _errors(source: HuggingFaceSource, missing: Reason) -> Iterator[None]:
    name = display(source)
    try:
        yield
    except GatedRepoError as error:
        raise CustomizerError(
            Reason.REPOSITORY_GATED, f"{name}: gated, and the token (if any) is of nobody who has accepted its licence."
        ) from error
    except RepositoryNotFoundError as error:
        raise CustomizerError(
            missing, f"{name}: no such repository, or a private one that the token may not read."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError) as error:
        raise CustomizerError(Reason.STORAGE_UNAVAILABLE, f"{name}: the hub does not answer: {error}") from error
    except (RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise CustomizerError(missing, f"{name}: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = Reason.ACCESS_DENIED if status in _DENIED else Reason.STORAGE_UNAVAILABLE
        raise CustomizerError(reason, f"{name}: the hub answers {status}.") from error
