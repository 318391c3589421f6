"""The whole way from files to stored samples and the facts about them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.result import DatasetFacts, Lengths, SplitFacts
from customizer_trainer.datasets.encoding import (
    Sample,
    TemplateUnreadableError,
    Tokenizer,
    TooLong,
    encode_conversation,
    encode_pairs,
)
from customizer_trainer.datasets.formats import Example, Format, Parser
from customizer_trainer.datasets.problems import Defect, Problems
from customizer_trainer.datasets.prompts import Columns, Pair
from customizer_trainer.datasets.records import read_records
from customizer_trainer.datasets.split import split
from customizer_trainer.datasets.store import SampleStore, SampleWriter, write_indices
from customizer_trainer.storage.digest import combined_digest, file_digest

_BATCH = 512
"""Examples tokenized at once: enough to keep the tokenizer's threads busy, little enough to stay small."""

STORE, TRAINING, VALIDATION = "store", "training.npy", "validation.npy"


@dataclass(frozen=True, slots=True)
class Data:
    """Local data files by the name under which people know them."""

    training: dict[str, Path]
    validation: dict[str, Path]
    """Empty when validation is to be split off."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How examples become samples."""

    columns: Columns
    max_length: int
    validation_share: float
    seed: int


@dataclass(slots=True)
class _Reading:
    """What was met while reading."""

    parser: Parser
    problems: Problems = field(default_factory=Problems)
    dropped: int = 0
    last_turn_only: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was found, and what a user should know."""

    facts: DatasetFacts
    warnings: list[str]


def prepare(data: Data, make_tokenizer: Callable[[Format], Tokenizer], how: Preparation, folder: Path) -> Prepared:
    """Checks and encodes all records into `folder`: a store of samples, and the numbers of those of each split.

    `make_tokenizer` is asked once, when the format is known. Raises InvalidRecordsError (DatasetInvalid),
    DatasetEmpty, and what `make_tokenizer` raises.
    """
    reading = _Reading(Parser(how.columns))
    with SampleWriter(folder / STORE) as writer:
        encode = _Encoder(reading, make_tokenizer, how.max_length)
        encode(data.training, writer)
        trained, dropped = writer.count, reading.dropped
        encode(data.validation, writer)
    reading.problems.raise_if_any()
    dropped_validation = reading.dropped - dropped
    store = SampleStore(folder / STORE)
    if data.validation:
        training, validation = np.arange(trained), np.arange(trained, len(store))
    else:
        training, validation = split(len(store), how.validation_share, how.seed)
    _refuse_empty(training, validation, dropped, dropped_validation, how)
    write_indices(folder / TRAINING, training)
    write_indices(folder / VALIDATION, validation)
    files = {
        f"{name}/{file}": path for name in ("training", "validation") for file, path in getattr(data, name).items()
    }
    facts = DatasetFacts(
        format=reading.parser.format or "prompt-completion",
        training=_facts(store, training, dropped),
        validation=_facts(store, validation, dropped_validation),
        digest=combined_digest({name: file_digest(path) for name, path in files.items()}),
    )
    return Prepared(facts, _warnings(facts, reading.last_turn_only, how.max_length))


class _Encoder:
    """Reads files, encodes their records in batches and stores the samples, unless there were problems."""

    def __init__(self, reading: _Reading, make_tokenizer: Callable[[Format], Tokenizer], max_length: int) -> None:
        self._reading = reading
        self._make_tokenizer = make_tokenizer
        self._max_length = max_length
        self._tokenizer: Tokenizer | None = None

    def __call__(self, files: dict[str, Path], writer: SampleWriter) -> None:
        for name, path in files.items():
            examples = self._examples(name, path)
            while batch := list(islice(examples, _BATCH)):
                self._encode(name, batch, writer)

    def _examples(self, name: str, path: Path) -> Iterator[tuple[int, Example]]:
        for record in read_records(path):
            found = record.content if isinstance(record.content, Defect) else self._reading.parser.parse(record.content)
            if isinstance(found, Defect):
                self._reading.problems.add(name, record.line, found)
            elif isinstance(found, list):
                for defect in found:
                    self._reading.problems.add(name, record.line, defect)
            else:
                yield record.line, found

    def _encode(self, name: str, batch: Sequence[tuple[int, Example]], writer: SampleWriter) -> None:
        if self._tokenizer is None:
            self._tokenizer = self._make_tokenizer(self._reading.parser.format or "prompt-completion")
        pairs = [example for _, example in batch if isinstance(example, Pair)]
        if pairs:
            self._store(encode_pairs(pairs, self._tokenizer, self._max_length), writer)
            return
        for line, example in batch:
            if not isinstance(example, Pair):
                try:
                    sample, last_turn_only = encode_conversation(example, self._tokenizer, self._max_length)
                except TemplateUnreadableError as error:
                    self._reading.problems.add(name, line, Defect("template", "messages", str(error)))
                    continue
                self._reading.last_turn_only += last_turn_only
                self._store([sample], writer)

    def _store(self, samples: Sequence[Sample | TooLong], writer: SampleWriter) -> None:
        for sample in samples:
            if isinstance(sample, TooLong) or not any(sample.learned):
                self._reading.dropped += 1
            else:
                writer.add(sample)


def _refuse_empty(
    training: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    dropped: int,
    dropped_validation: int,
    how: Preparation,
) -> None:
    for name, indices, lost in (("training", training, dropped), ("validation", validation, dropped_validation)):
        if len(indices) == 0:
            why = (
                f"{lost} records do not fit into maxSeqLength {how.max_length}" if lost else "there are too few records"
            )
            raise CustomizerError(Reason.DATASET_EMPTY, f"No {name} sample is left: {why}.")


def _facts(store: SampleStore, indices: npt.NDArray[np.int64], dropped: int) -> SplitFacts:
    lengths, before = store.lengths[indices], store.lengths_before[indices]
    middle, high = np.percentile(before, [50, 95], method="higher")
    return SplitFacts(
        samples=len(indices),
        tokens=int(lengths.sum()),
        lengths=Lengths(mean=round(float(before.mean()), 1), p50=int(middle), p95=int(high), max=int(before.max())),
        truncated=int((lengths < before).sum()),
        dropped=dropped,
    )


def _warnings(facts: DatasetFacts, last_turn_only: int, max_length: int) -> list[str]:
    warnings = []
    for name, split_facts in (("training", facts.training), ("validation", facts.validation)):
        if split_facts.dropped:
            warnings.append(f"{split_facts.dropped} {name} records do not fit into maxSeqLength {max_length}: dropped.")
        if split_facts.truncated:
            warnings.append(f"{split_facts.truncated} {name} samples were shortened to maxSeqLength {max_length}.")
    if last_turn_only:
        warnings.append(
            f"Of {last_turn_only} conversations only the last turn is learned: the model's chat template renders"
            " earlier turns differently when others follow."
        )
    return warnings
