"""The whole way from files to stored samples and the facts about them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.result import DatasetFacts
from customizer_trainer.datasets.blocks import read_blocks
from customizer_trainer.datasets.facts import Batching, Measured, describe, describe_packing, measure
from customizer_trainer.datasets.formats import Format, Parser, detect, read_columns
from customizer_trainer.datasets.problems import Defect, Problems
from customizer_trainer.datasets.prompts import Columns
from customizer_trainer.datasets.records import read_records
from customizer_trainer.datasets.repetitions import Repetitions, find_repetitions
from customizer_trainer.datasets.split import split
from customizer_trainer.datasets.store import SampleWriter, read_parts, write_indices
from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer
from customizer_trainer.datasets.work import Encoded, FileBlock, Work, encode_all
from customizer_trainer.storage.digest import combined_digest

_LARGE = 8_000_000
"""Bytes from which on it pays to start processes and to keep the words of the tokenizer."""
_PROCESSES = 4
_SHOWN = 5

STORE, TRAINING, VALIDATION = "store", "training.npy", "validation.npy"


@dataclass(frozen=True, slots=True)
class Data:
    """Local data files by the name under which people know them."""

    training: dict[str, Path]
    validation: dict[str, Path]
    """Empty when validation is to be split off."""
    ignored: list[str] = field(default_factory=list)
    """Files that could be data but are read for neither."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How examples become samples."""

    columns: Columns
    max_length: int
    validation_share: float
    seed: int
    batching: Batching = field(default_factory=Batching)
    with_tokens: bool = True
    """Whether tokens are written for a training, rather than only counted."""


@dataclass(slots=True)
class _Met:
    """What was met while reading."""

    problems: Problems = field(default_factory=Problems)
    dropped: int = 0
    last_turn_only: int = 0
    empty: int = 0
    highest_token: int = -1

    def add(self, encoded: Encoded) -> None:
        self.problems.extend(encoded.problems)
        self.dropped += encoded.dropped
        self.last_turn_only += encoded.last_turn_only
        self.empty += encoded.empty
        self.highest_token = max(self.highest_token, encoded.highest_token)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was found, and what a user should know."""

    facts: DatasetFacts
    warnings: list[str]
    training: Measured
    validation: Measured
    repetitions: Repetitions
    store: Path
    files: list[str]
    """Their names, by the number in the samples' measures."""
    highest_token: int
    """The highest id of a token that was met."""


def prepare(data: Data, make_tokenizer: Callable[[Format], Tokenizer], how: Preparation, folder: Path) -> Prepared:
    """Checks and encodes all records into `folder`: a store of samples, and the numbers of those of each split.

    `make_tokenizer` is asked once, when the format is known. Raises InvalidRecordsError (DatasetInvalid),
    DatasetEmpty, and what `make_tokenizer` raises.
    """
    format_ = find_format(data, how.columns)
    is_large = sum(path.stat().st_size for path in (*data.training.values(), *data.validation.values())) >= _LARGE
    encoder = None if format_ is None else TextEncoder(make_tokenizer(format_), fast=is_large)
    work = Work(Parser(how.columns, format_), encoder, how.max_length, how.with_tokens)
    processes = min(_PROCESSES, len(os.sched_getaffinity(0))) if is_large else 1
    met = {"training": _Met(), "validation": _Met()}
    digests: dict[str, dict[str, str]] = {"training": {}, "validation": {}}
    counts = {}
    with SampleWriter(folder / STORE) as writer:
        for name, files in (("training", data.training), ("validation", data.validation)):
            first = 0 if name == "training" else len(data.training)
            for encoded in encode_all(_blocks(files, first, how.columns, digests[name]), work, processes):
                met[name].add(encoded)
                writer.add(encoded.measures, encoded.tokens, encoded.learned)
            counts[name] = writer.count
    trained, validated = met["training"], met["validation"]
    trained.problems.extend(validated.problems)
    trained.problems.raise_if_any()
    samples = writer.count
    if data.validation:
        training, validation = np.arange(counts["training"]), np.arange(counts["training"], samples)
    else:
        training, validation = split(samples, how.validation_share, how.seed)
    _refuse_empty(len(training), len(validation), trained.dropped, validated.dropped, how)
    write_indices(folder / TRAINING, training)
    write_indices(folder / VALIDATION, validation)
    is_validation = np.zeros(samples, dtype=bool)
    is_validation[validation] = True
    del training, validation
    return _describe(data, format_ or "prompt-completion", met, is_validation, digests, how, folder)


def find_format(data: Data, columns: Columns) -> Format | None:
    """Tells the format of all records by the first one that has one."""
    files = {**data.training, **{f"/{name}": path for name, path in data.validation.items()}}
    for source in _blocks(files, 0, columns, {}):
        for record in read_records(source.block):
            if isinstance(record.content, dict):
                found = detect(record.content, columns, source.block.unread)
                if not isinstance(found, Defect):
                    return found
    return None


def _blocks(files: dict[str, Path], first: int, columns: Columns, digests: dict[str, str]) -> Iterator[FileBlock]:
    """Reads all files, and notes the digest of each that has been read to its end."""
    wanted = read_columns(columns)
    for index, (name, path) in enumerate(files.items(), start=first):
        hasher = sha256()
        for block in read_blocks(path, wanted, hasher):
            yield FileBlock(index, name, block)
        digests[name] = hasher.hexdigest()


def _describe(
    data: Data,
    format_: Format,
    met: dict[str, _Met],
    is_validation: npt.NDArray[np.bool_],
    digests: dict[str, dict[str, str]],
    how: Preparation,
    folder: Path,
) -> Prepared:
    training, validation = measure(read_parts(folder / STORE), is_validation)
    repetitions = find_repetitions(lambda: read_parts(folder / STORE), is_validation)
    files = {f"{name}/{file}": digest for name, each in digests.items() for file, digest in each.items()}
    facts = DatasetFacts(
        format=format_,
        training=describe(training, met["training"].dropped, repetitions.training),
        validation=describe(validation, met["validation"].dropped, repetitions.validation),
        overlap=repetitions.overlap,
        empty_rows=met["training"].empty + met["validation"].empty,
        packing=describe_packing(training.lengths, how.batching, how.max_length),
        digest=combined_digest(files),
    )
    names = [*data.training, *data.validation]
    last_turn_only = met["training"].last_turn_only + met["validation"].last_turn_only
    warnings = _warnings(facts, last_turn_only, data.ignored, how.max_length)
    highest = max(each.highest_token for each in met.values())
    return Prepared(facts, warnings, training, validation, repetitions, folder / STORE, names, highest)


def _refuse_empty(training: int, validation: int, dropped: int, dropped_validation: int, how: Preparation) -> None:
    for name, left, lost in (("training", training, dropped), ("validation", validation, dropped_validation)):
        if left == 0:
            why = (
                f"{lost} records do not fit into maxSeqLength {how.max_length}" if lost else "there are too few records"
            )
            raise CustomizerError(Reason.DATASET_EMPTY, f"No {name} sample is left: {why}.")


def _warnings(facts: DatasetFacts, last_turn_only: int, ignored: Sequence[str], max_length: int) -> list[str]:
    warnings = []
    if ignored:
        more = f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else ""
        warnings.append(f"Neither trained nor validated on: {', '.join(ignored[:_SHOWN])}{more}.")
    for name, split_facts in (("training", facts.training), ("validation", facts.validation)):
        if split_facts.dropped:
            warnings.append(f"{split_facts.dropped} {name} records do not fit into maxSeqLength {max_length}: dropped.")
        if split_facts.truncated:
            warnings.append(f"{split_facts.truncated} {name} samples were shortened to maxSeqLength {max_length}.")
        if split_facts.duplicates:
            warnings.append(f"{split_facts.duplicates} {name} samples repeat others exactly; each counts again.")
    if facts.overlap:
        warnings.append(
            f"{facts.overlap} validation samples occur in the training data: the validation loss is too good."
        )
    if last_turn_only:
        warnings.append(
            f"Of {last_turn_only} conversations only the last turn is learned: the model's chat template renders"
            " earlier turns differently when others follow."
        )
    return warnings
