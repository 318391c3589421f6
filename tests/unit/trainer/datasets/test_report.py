"""What preflight tells of data: counted by hand here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customizer_contract.result import ModelFacts
from customizer_trainer.datasets import prepare as preparing
from customizer_trainer.datasets import repetitions
from customizer_trainer.datasets.facts import Batching, describe_packing, percentile
from customizer_trainer.datasets.page import render_page
from customizer_trainer.datasets.prepare import Data, Preparation, Prepared, prepare
from customizer_trainer.datasets.problems import Defect, Problems
from customizer_trainer.datasets.prompts import Columns
from customizer_trainer.datasets.repetitions import find_repetitions
from customizer_trainer.datasets.report import Bucket, Repetition, Report, build_histogram, build_report
from customizer_trainer.datasets.store import MEASURES
from customizer_trainer.datasets.tokenizing import Tokenizer

MODEL = ModelFacts(architecture="LlamaForCausalLM")


def pair(name: str, words: int = 1) -> dict[str, str]:
    return {"prompt": f"{name} " * words, "completion": f" {name}"}


def write(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join("\n" if record is None else json.dumps(record) + "\n" for record in records))
    return path


def run(folder: Path, tokenizer: Tokenizer, training: Sequence[Any], validation: Sequence[Any], **how: Any) -> Prepared:
    folder.mkdir(exist_ok=True)
    data = Data(
        {"train.jsonl": write(folder / "train.jsonl", training)}, {"val.jsonl": write(folder / "val.jsonl", validation)}
    )
    settings = Preparation(Columns(), max_length=64, validation_share=0.1, seed=1, **how)
    return prepare(data, lambda _: tokenizer, settings, folder / "samples")


def test_repeated_and_empty_rows_are_counted_and_the_first_ones_are_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    training = [pair("a"), None, pair("b"), pair("a"), pair("c"), pair("a")]
    prepared = run(tmp_path, tokenizer, training, [pair("c"), pair("d"), pair("d")])
    facts = prepared.facts
    assert (facts.training.duplicates, facts.validation.duplicates, facts.overlap, facts.empty_rows) == (2, 1, 1, 1)
    assert prepared.warnings == [
        "2 training samples repeat others exactly; each counts again.",
        "1 validation samples repeat others exactly; each counts again.",
        "1 validation samples occur in the training data: the validation loss is too good.",
    ]
    report = build_report(prepared, facts, MODEL, prepared.warnings)
    assert report.duplicates == [
        Repetition(file="train.jsonl", line=4, repeats_file="train.jsonl", repeats_line=1),
        Repetition(file="train.jsonl", line=6, repeats_file="train.jsonl", repeats_line=1),
    ]
    assert report.overlap == [Repetition(file="val.jsonl", line=1, repeats_file="train.jsonl", repeats_line=5)]


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_repetitions_are_the_same_however_little_is_compared_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(repetitions, "_AT_ONCE", at_once)
    chance = np.random.default_rng(3)
    measures = np.zeros(60, dtype=MEASURES)
    measures["digest"] = chance.integers(0, 25, 60).astype(np.uint64) * np.uint64(2**58 + 1)
    is_validation = chance.random(60) < 0.3
    found = find_repetitions(lambda: iter([measures[:13], measures[13:]]), is_validation)
    training, validation = measures["digest"][~is_validation], measures["digest"][is_validation]
    assert found.training == len(training) - len(set(training))
    assert found.validation == len(validation) - len(set(validation))
    assert found.overlap == sum(digest in set(training) for digest in validation)
    assert len(found.training_pairs) == min(repetitions.SHOWN, found.training)
    assert len(found.overlap_pairs) == min(repetitions.SHOWN, found.overlap)
    numbers: dict[int, int] = {}
    for number, digest in enumerate(measures["digest"].tolist()):
        if not is_validation[number]:
            numbers.setdefault(digest, number)
    firsts = [numbers.get(digest) for digest in measures["digest"].tolist()]
    repeating = [number for number, first in enumerate(firsts) if first not in (None, number)]
    expected = [(number, firsts[number]) for number in repeating]
    assert found.training_pairs == [pair for pair in expected if not is_validation[pair[0]]][: repetitions.SHOWN]
    assert found.overlap_pairs == [pair for pair in expected if is_validation[pair[0]]][: repetitions.SHOWN]


def counts(*lengths: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.bincount(lengths)


def test_percentiles_are_lengths_that_occur() -> None:
    lengths = counts(*range(1, 101))
    assert [percentile(lengths, share) for share in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile(counts(7, 7, 9), 50) == 7


def test_a_histogram_has_round_buckets_and_a_tail() -> None:
    buckets = build_histogram(counts(*[1] * 300, *[15] * 699, 4000), counts(3, 9))
    assert buckets[:2] == [
        Bucket(least=0, most=0, training=0, validation=0),
        Bucket(least=1, most=1, training=300, validation=0),
    ]
    assert buckets[-1] == Bucket(least=15, most=None, training=700, validation=0)
    assert sum(bucket.training for bucket in buckets) == 1000
    assert sum(bucket.validation for bucket in buckets) == 2


def test_what_packing_brings_is_counted_from_all_lengths() -> None:
    found = describe_packing(counts(*[10] * 30, *[30] * 10), Batching(8, 2, 2), 64)
    # 600 tokens in 40 samples: mean 15, evened up to 16, times the 4 samples that a GPU sees of a batch.
    assert (found.size, found.packs, found.samples_per_pack, found.fill) == (64, 10, 4.0, 0.9375)
    # Of two samples the longer one has 30 tokens with probability 1 - 0.75 ** 2, so 18.75 on average.
    assert found.padding_without == 0.2


def test_large_data_are_prepared_by_several_processes_with_the_same_result(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = [pair(name, words) for words in range(1, 20) for name in ("city's", "x 12", "naïve", "日本", "a  b")]
    small = run(tmp_path / "small", tokenizer, training, [pair("z")])
    monkeypatch.setattr(preparing, "_LARGE", 0)
    monkeypatch.setattr("customizer_trainer.datasets.blocks.BLOCK_BYTES", 512)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    large = run(tmp_path / "large", tokenizer, training, [pair("z")])
    assert large.facts == small.facts
    for name in ("tokens.i32", "learned.u8", "measures"):
        assert (large.store / name).read_bytes() == (small.store / name).read_bytes()
    counted = run(tmp_path / "counted", tokenizer, training, [pair("z")], with_tokens=False)
    assert counted.facts == small.facts
    assert (counted.store / "tokens.i32").stat().st_size == 0


def test_the_page_shows_all_that_was_found_and_loads_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepared = run(tmp_path, tokenizer, [pair("a"), pair("a"), pair("c")], [pair("c")])
    page = render_page(build_report(prepared, prepared.facts, MODEL, ["<b>beware</b>"]), "Preflight of demo/tickets")
    for shown in ("Preflight of demo/tickets", "&lt;b&gt;beware&lt;/b&gt;", "Exact duplicates", "<svg", "val.jsonl"):
        assert shown in page
    for foreign in ("src=", "href=", "http", "<script"):
        assert foreign not in page


def test_the_page_lists_what_is_wrong_by_kind_and_place() -> None:
    problems = Problems()
    problems.add("a.parquet", "row", 7, Defect("missing-field", "completion", "expected a <string>"))
    page = render_page(Report(problems=problems.first, problem_counts=dict(problems.counts)), "Preflight")
    for shown in ("missing-field", "a.parquet", "row 7", "completion", "expected a &lt;string&gt;"):
        assert shown in page
