"""The Hugging Face hub."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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

_DENIED = frozenset({401, 403})


def list_files(source: HuggingFaceSource, *, kind: Literal["model", "dataset"], missing: Reason) -> dict[str, int]:
    """Lists the files of a repository, with their bytes."""
    with _errors(source, missing):
        tree = HfApi(token=_token()).list_repo_tree(
            source.repo, recursive=True, revision=source.revision, repo_type=kind
        )
        return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}


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
    chosen = list(select(list_files(source, kind=kind, missing=missing)))
    if not chosen:
        raise CustomizerError(missing, f"{display(source)}: nothing there that could be used.")
    with _errors(source, missing):
        snapshot_download(
            source.repo,
            revision=source.revision,
            repo_type=kind,
            local_dir=folder,
            allow_patterns=chosen,
            token=_token(),
        )
    return [folder / path for path in chosen]


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
