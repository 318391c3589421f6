"""From a job file to local data and prepared samples: the way that preflight and fetch share."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.sources import Source, display
from customizer_trainer.datasets.facts import Batching
from customizer_trainer.datasets.files import EXPECTED, find_data, find_validation, select_data
from customizer_trainer.datasets.formats import Format
from customizer_trainer.datasets.prepare import Data, Preparation, Prepared, prepare
from customizer_trainer.datasets.prompts import parse_template
from customizer_trainer.datasets.tokenizing import Tokenizer
from customizer_trainer.model import count_tokens, load_tokenizer, read_config
from customizer_trainer.model_checks import check_tokens, check_vocabulary
from customizer_trainer.packing import pack_prepared
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_data
from customizer_trainer.workspace import Workspace

Choose = Callable[[Iterable[str]], list[str]]


def fetch_job_data(job: Job, s3: S3, workspace: Workspace) -> Data:
    """Brings the data of a job and sorts it into training and validation. Raises DatasetNotFound."""
    found = _bring(job.dataset.training, s3, workspace.data / "training")
    training, validation, ignored = _sort(found)
    if not training:
        raise _missing(job.dataset.training, "training")
    if job.dataset.validation is not None:
        found = _bring(job.dataset.validation, s3, workspace.data / "validation")
        validation = _sort_validation(found)
        if not validation:
            raise _missing(job.dataset.validation, "validation")
        ignored = [path for path in ignored if path not in validation]
    return Data(training, validation, ignored)


def measure_fetched(data: Data, workspace: Workspace) -> int:
    """Counts the bytes of the data files that were brought here; those of a mounted volume were not."""
    files = {*data.training.values(), *data.validation.values()}
    return sum(file.stat().st_size for file in files if file.is_relative_to(workspace.data))


def prepare_job_data(
    job: Job, data: Data, model: Path, folder: Path, *, teacher: Path | None = None, with_tokens: bool
) -> Prepared:
    """Checks and tokenizes the data into `folder`, which is emptied first; to count them, tokens need not be kept."""
    outline = job.outline
    how = Preparation(
        columns=parse_template(job.dataset.prompt_template),
        max_length=outline.max_seq_length,
        validation_share=outline.validation_split,
        seed=outline.seed,
        batching=Batching(outline.global_batch_size, outline.micro_batch_size, outline.world_size),
        with_tokens=with_tokens,
    )

    def make_tokenizer(format_: Format) -> Tokenizer:
        tokenizer = load_tokenizer(model, trust_remote_code=job.model.trust_remote_code, format_=format_)
        check_vocabulary(read_config(model), count_tokens(tokenizer))
        return tokenizer

    shutil.rmtree(folder, ignore_errors=True)
    configs = [read_config(each) for each in (model, teacher) if each is not None]
    prepared = prepare(data, make_tokenizer, how, folder)
    check_tokens(configs[0], prepared.highest_token)
    return pack_prepared(job, prepared, configs)


def _bring(source: Source, s3: S3, folder: Path) -> Path:
    """Returns a local file or folder."""
    return fetch_data(source, s3, folder, _select)


def _sort(place: Path) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Returns training and validation files by relative path, and what is left; a file named itself is for training."""
    if place.is_file():
        return {place.name: place}, {}, []
    found = find_data(_list(place))
    training = {path: place / path for path in found.training}
    return training, {path: place / path for path in found.validation}, found.ignored


def _sort_validation(place: Path) -> dict[str, Path]:
    if place.is_file():
        return {place.name: place}
    return {path: place / path for path in find_validation(_list(place))}


def _list(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _select(paths: Iterable[str]) -> list[str]:
    candidates = list(paths)
    return candidates if len(candidates) == 1 else select_data(candidates)


def _missing(source: Source, what: str) -> CustomizerError:
    return CustomizerError(Reason.DATASET_NOT_FOUND, f"{display(source)}: no {what} file there ({EXPECTED}).")
