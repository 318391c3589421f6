"""The report of preflight: all that was found, for people and for programs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from customizer_contract.base import Model
from customizer_contract.result import DatasetFacts, ModelFacts
from customizer_trainer.datasets.facts import PERCENTILES, Counts, Measured, percentile
from customizer_trainer.datasets.prepare import Prepared
from customizer_trainer.datasets.problems import RecordProblem
from customizer_trainer.datasets.store import read_places

_BUCKETS = 32
_WIDTHS = (1, 2, 5)
_TAIL = 99.5
"""Percent of the samples that the histogram shows apart; the rest shares the last bucket."""


class Repetition(Model):
    """A record and the one that it repeats. A line is the row of a table, or the element of an array."""

    file: str
    line: int
    repeats_file: str
    repeats_line: int


class Bucket(Model):
    """Samples of similar lengths."""

    least: int
    most: int | None = None
    """Absent of the last one, which has no end."""
    training: int
    validation: int


class Report(Model):
    """What preflight found, in full."""

    model: ModelFacts | None = None
    dataset: DatasetFacts | None = None
    warnings: list[str] = Field(default_factory=list)
    problems: list[RecordProblem] = Field(default_factory=list)
    """The first ones in full."""
    problem_counts: dict[str, int] = Field(default_factory=dict)
    """All of them, by kind."""
    percentiles: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Tokens a sample before truncation, by split."""
    histogram: list[Bucket] = Field(default_factory=list)
    """Samples by their tokens before truncation."""
    duplicates: list[Repetition] = Field(default_factory=list)
    """The first training records that repeat others."""
    overlap: list[Repetition] = Field(default_factory=list)
    """The first validation records that occur in the training data."""


def build_report(prepared: Prepared, dataset: DatasetFacts, model: ModelFacts, warnings: Sequence[str]) -> Report:
    """Puts together what was found in data that can be trained on."""
    found = prepared.repetitions
    return Report(
        model=model,
        dataset=dataset,
        warnings=list(warnings),
        percentiles={"training": _percentiles(prepared.training), "validation": _percentiles(prepared.validation)},
        histogram=build_histogram(prepared.training.before, prepared.validation.before),
        duplicates=_places(prepared.store, found.training_pairs, prepared.files),
        overlap=_places(prepared.store, found.overlap_pairs, prepared.files),
    )


def build_histogram(training: Counts, validation: Counts) -> list[Bucket]:
    """Sorts samples into a few dozen buckets of one round width; the last one takes the tail."""
    size = max(len(training), len(validation))
    both = np.zeros(size, dtype=np.int64)
    for counts in (training, validation):
        both[: len(counts)] += counts
    top = percentile(both, _TAIL) + 1
    width = next(
        factor * 10**power for power in range(12) for factor in _WIDTHS if factor * 10**power * _BUCKETS >= top
    )
    starts = range(0, top, width)
    return [
        Bucket(
            least=start,
            most=None if start == starts[-1] else start + width - 1,
            training=_count(training, start, None if start == starts[-1] else start + width),
            validation=_count(validation, start, None if start == starts[-1] else start + width),
        )
        for start in starts
    ]


def _count(counts: Counts, start: int, end: int | None) -> int:
    return int(counts[start:end].sum())


def _percentiles(measured: Measured) -> dict[str, int]:
    found = {f"p{share}": percentile(measured.before, share) for share in PERCENTILES}
    return {**found, "max": len(measured.before) - 1}


def _places(store: Path, pairs: Sequence[tuple[int, int]], files: Sequence[str]) -> list[Repetition]:
    places = read_places(store, [number for pair in pairs for number in pair])
    return [
        Repetition(
            file=files[places[again][0]],
            line=places[again][1],
            repeats_file=files[places[first][0]],
            repeats_line=places[first][1],
        )
        for again, first in pairs
    ]
