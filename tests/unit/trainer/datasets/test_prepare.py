import bz2
import gzip
import json
import lzma
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.datasets.prepare import Data, Preparation, find_format, prepare
from customizer_trainer.datasets.problems import InvalidRecordsError
from customizer_trainer.datasets.prompts import Columns
from customizer_trainer.datasets.split import split
from customizer_trainer.datasets.store import MEASURES, SampleStore, SampleWriter, read_indices
from customizer_trainer.datasets.tokenizing import Tokenizer
from customizer_trainer.storage.digest import combined_digest, file_digest


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def how(max_length: int = 64, share: float = 0.1) -> Preparation:
    return Preparation(Columns(), max_length, share, seed=1)


def pairs(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"What is {number}?", "completion": " A number."} for number in range(count)]


def test_samples_come_back_as_they_were_stored(tmp_path: Path) -> None:
    measures = np.array([(1, 0, 1, 3, 9), (2, 0, 2, 1, 1)], dtype=MEASURES)
    with SampleWriter(tmp_path / "store") as writer:
        writer.add(measures, array("i", [5, 6, 7, 8]).tobytes(), bytes([0, 1, 1, 1]))
    store = SampleStore(tmp_path / "store")
    assert [store.tokens(0), store.tokens(1)] == [[5, 6, 7], [8]]
    assert [store.labels(0), store.labels(1)] == [[-100, 6, 7], [8]]
    assert (store.lengths.tolist(), store.lengths_before.tolist()) == ([3, 1], [9, 1])


def test_a_split_is_the_same_for_the_same_seed_and_leaves_nothing_out() -> None:
    training, validation = split(20, 0.1, 7)
    assert sorted([*training, *validation]) == list(range(20))
    assert len(validation) == 2
    assert all(np.array_equal(*pair) for pair in zip(split(20, 0.1, 7), (training, validation), strict=True))
    assert not np.array_equal(split(20, 0.1, 8)[1], validation)
    assert len(split(5, 0.1, 7)[1]) == 1


def test_validation_is_split_off_when_none_is_given(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = Data({"a.jsonl": write(tmp_path / "a.jsonl", pairs(20))}, {})
    prepared = prepare(data, lambda _: tokenizer, how(), tmp_path / "samples")
    assert (prepared.facts.training.samples, prepared.facts.validation.samples) == (18, 2)
    assert len(read_indices(tmp_path / "samples" / "training.npy")) == 18
    assert prepared.facts.format == "prompt-completion"
    assert prepared.warnings == []


def test_given_validation_data_stay_apart(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = Data({"a.jsonl": write(tmp_path / "a.jsonl", pairs(3))}, {"b.jsonl": write(tmp_path / "b.jsonl", pairs(2))})
    prepared = prepare(data, lambda _: tokenizer, how(), tmp_path / "samples")
    assert read_indices(tmp_path / "samples" / "training.npy").tolist() == [0, 1, 2]
    assert read_indices(tmp_path / "samples" / "validation.npy").tolist() == [3, 4]
    store = SampleStore(tmp_path / "samples" / "store")
    assert prepared.facts.training.tokens == int(store.lengths[:3].sum())


def write_halves(folder: Path, ending: str) -> Path:
    """Writes two records, of which the second has half of a surrogate pair in its completion."""
    path = folder / f"a.{ending}"
    records = [{"prompt": "p", "completion": "😀"}, {"prompt": "p", "completion": "cut \ud83d"}]
    if ending == "parquet":
        # Arrow itself makes no such string, so it is made of bytes.
        completions = [record["completion"].encode(errors="surrogatepass") for record in records]
        table = {"prompt": ["p", "p"], "completion": pa.array(completions).view(pa.string())}
        pq.write_table(pa.table(table), path)
    else:
        write(path, [records] if ending == "json" else records)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_half_of_a_character_is_the_data_s_error_in_every_format(
    tmp_path: Path, tokenizer: Tokenizer, ending: str
) -> None:
    path = write_halves(tmp_path, ending)
    with pytest.raises(InvalidRecordsError) as raised:
        prepare(Data({path.name: path}, {}), lambda _: tokenizer, how(share=0.5), tmp_path / "samples")
    error = raised.value
    assert (error.reason, error.file, error.line, error.field) == (
        Reason.DATASET_INVALID,
        path.name,
        2,
        "completion",
    )
    assert error.problems.counts == {"no-text": 1}


BESIDE = {
    "a text": (["good", "bad"], None),
    "a category": (pa.array(["good", "bad"]).dictionary_encode(), None),
    "a number": ([1, 0], None),
    "nulls alone": ([None, None], "text"),
}


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize(("labels", "format_"), BESIDE.values(), ids=BESIDE.keys())
def test_a_label_beside_a_text_is_never_dropped_in_silence(
    tmp_path: Path, ending: str, labels: Any, format_: str | None
) -> None:
    table = pa.table({"text": ["t", "u"], "id": [7, 8], "label": labels})
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        write(path, [table.to_pylist()] if ending == "json" else table.to_pylist())
    assert find_format(Data({path.name: path}, {}), Columns()) == format_


def test_a_label_of_a_table_is_named_as_a_problem_of_its_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"text": ["t", "u"], "label": [1, 0]}), path)
    alone = write(tmp_path / "a.jsonl", [{"text": "t"}])
    with pytest.raises(InvalidRecordsError, match=r"text alone \(fields: label, text\)") as raised:
        prepare(Data({"a.jsonl": alone, "b.parquet": path}, {}), lambda _: tokenizer, how(), tmp_path / "samples")
    assert raised.value.problems.counts == {"unknown-format": 2}


def test_what_is_shortened_and_dropped_is_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    long_prompt = {"prompt": "word " * 60, "completion": " ok"}
    long_completion = {"prompt": "word", "completion": "word " * 60}
    data = Data(
        {"a.jsonl": write(tmp_path / "a.jsonl", [*pairs(2), long_prompt, long_completion])},
        {"b.jsonl": write(tmp_path / "b.jsonl", pairs(1))},
    )
    prepared = prepare(data, lambda _: tokenizer, how(max_length=32), tmp_path / "samples")
    training = prepared.facts.training
    assert (training.samples, training.truncated, training.dropped) == (3, 1, 1)
    assert training.lengths.max > 32
    assert prepared.warnings == [
        "1 training records do not fit into maxSeqLength 32: dropped.",
        "1 training samples were shortened to maxSeqLength 32.",
        "1 validation samples occur in the training data: the validation loss is too good.",
    ]


def test_all_files_are_read_before_the_first_problem_is_reported(tmp_path: Path, tokenizer: Tokenizer) -> None:
    first = write(tmp_path / "a.jsonl", [*pairs(1), {"prompt": "p"}])
    second = write(tmp_path / "b.jsonl", [{"messages": []}])
    with pytest.raises(InvalidRecordsError) as raised:
        prepare(Data({"a.jsonl": first}, {"b.jsonl": second}), lambda _: tokenizer, how(), tmp_path / "samples")
    assert (raised.value.file, raised.value.line, raised.value.field) == ("a.jsonl", 2, "completion")
    assert raised.value.problems.counts == {"missing-field": 1, "mixed-formats": 1}
    assert "The whole report is s3://b/preflight.json." in str(raised.value.with_report("s3://b/preflight.json"))


EMPTY = {
    "one record cannot be split": (pairs(1), 64, "No training sample is left: there are too few records."),
    "nothing fits": (pairs(9), 8, "No training sample is left: 9 records do not fit into maxSeqLength 8."),
}


@pytest.mark.parametrize(("records", "max_length", "message"), EMPTY.values(), ids=EMPTY.keys())
def test_too_little_data_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, records: list[Any], max_length: int, message: str
) -> None:
    data = Data({"a.jsonl": write(tmp_path / "a.jsonl", records)}, {})
    with pytest.raises(CustomizerError) as raised:
        prepare(data, lambda _: tokenizer, how(max_length), tmp_path / "samples")
    assert raised.value.reason is Reason.DATASET_EMPTY
    assert str(raised.value) == message


def test_the_digest_follows_the_content(tmp_path: Path, tokenizer: Tokenizer) -> None:
    digests = set()
    for number, count in enumerate((10, 10, 11)):
        path = write(tmp_path / "a.jsonl", pairs(count))
        prepared = prepare(Data({"a.jsonl": path}, {}), lambda _: tokenizer, how(), tmp_path / f"samples-{number}")
        digests.add(prepared.facts.digest)
    assert len(digests) == 2


LENGTHS = (8, 12, 16, 64)


@pytest.mark.parametrize("max_length", LENGTHS)
def test_what_is_counted_is_what_is_stored(tmp_path: Path, tokenizer: Tokenizer, max_length: int) -> None:
    records = [{"prompt": "word " * (number % 9 + 1), "completion": "yes " * (number % 5 + 1)} for number in range(60)]
    data = Data({"a.jsonl": write(tmp_path / "a.jsonl", records)}, {})
    counted, stored = (
        prepare(
            data, lambda _: tokenizer, replace(how(max_length), with_tokens=with_tokens), tmp_path / str(with_tokens)
        )
        for with_tokens in (False, True)
    )
    assert counted.facts == stored.facts
    store = SampleStore(tmp_path / "True" / "store")
    measures = [np.fromfile(tmp_path / name / "store" / "measures", dtype=MEASURES) for name in ("True", "False")]
    assert np.array_equal(*measures)
    assert len(store) == stored.facts.training.samples + stored.facts.validation.samples
    assert [len(store.tokens(number)) for number in range(len(store))] == store.lengths.tolist()
    assert max(store.lengths) <= max_length


def write_stored(path: Path) -> Path:
    """Writes records as the file's name says, with something behind them where the format allows it."""
    records = pairs(40)
    lines = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        case ".json":
            path.write_text(json.dumps(records) + " \n" * 2_000_000)
        case ".gz":
            path.write_bytes(gzip.compress(lines) + bytes(3_000_000))
        case ".zst":
            path.write_bytes(zstandard.compress(lines[:500]) + zstandard.compress(lines[500:]))
        case _:
            path.write_bytes({".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(lines))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz"])
def test_the_digest_is_that_of_the_files_as_they_are_stored(tmp_path: Path, tokenizer: Tokenizer, ending: str) -> None:
    path = write_stored(tmp_path / f"a.{ending}")
    prepared = prepare(Data({path.name: path}, {}), lambda _: tokenizer, how(), tmp_path / "samples")
    assert prepared.facts.training.samples == 36
    assert prepared.facts.digest == combined_digest({f"training/{path.name}": file_digest(path)})
