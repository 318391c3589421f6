"""Files to records: every format and compression, and what a damaged one is called."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from customizer_trainer.datasets import blocks
from customizer_trainer.datasets.blocks import read_blocks
from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.records import Record, read_records

ALL = frozenset({"a", "messages", "prompt", "completion"})


def read_file(path: Path) -> list[Record]:
    found = [record for block in read_blocks(path, ALL) for record in read_records(block)]
    return [record for record in found if record.content is not None]


def read(path: Path, content: bytes) -> list[Record]:
    path.write_bytes(content)
    return read_file(path)


def test_lines_keep_their_numbers_and_blank_ones_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    records = [record for block in read_blocks(path, ALL) for record in read_records(block)]
    assert records == [Record(1, {"a": 1}), Record(2, None), Record(3, None), Record(4, {"a": 2})]


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_lines_and_elements_are_whole_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    values = [{"a": number, "text": "é€😀" * (number % 5), "n": [1.5, -2]} for number in range(40)]
    expected = [Record(number, value) for number, value in enumerate(values, start=1)]
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    assert read(tmp_path / "a.jsonl", lines) == expected
    assert read(tmp_path / "a.jsonl", lines + b"\n") == expected
    for indent in (None, 2):
        array = json.dumps(values, ensure_ascii=False, indent=indent).encode()
        if size > 1:
            assert read(tmp_path / "a.json", array) == expected


DEFECTS = {
    "broken JSON": (b'{"a": 1,}', "invalid-json", "not valid JSON: "),
    "an array": (b"7", "not-an-object", "expected a JSON object, found 7"),
    "another encoding": (b'{"a": "\xe9"}', "invalid-utf8", "not UTF-8 (byte 8 of the line)"),
    "depth without an end": (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "invalid-json", "not valid JSON: "),
    "a number without an end": (b'{"a": ' + b"7" * 5000 + b"}", "invalid-json", "not valid JSON: "),
}


@pytest.mark.parametrize(("line", "kind", "message"), DEFECTS.values(), ids=DEFECTS.keys())
def test_what_is_no_record_is_told_and_reading_goes_on(tmp_path: Path, line: bytes, kind: str, message: str) -> None:
    first, second, third = read(tmp_path / "a.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    assert isinstance(second.content, Defect)
    assert second.number == 2
    assert second.content.kind == kind
    assert second.content.message.startswith(message)
    assert (first.content, third.content) == ({"a": 1}, {"a": 3})


HALVES = {
    "alone": ({"a": "x\ud83d"}, "a"),
    "the second one": ({"a": "\udc80\n"}, "a"),
    "the wrong way round": ({"a": "\ude00\ud83d"}, "a"),
    "in depth": ({"messages": [{"content": "é"}, {"content": "\udfff"}]}, "messages[1].content"),
    "in a name": ({"a": {"\ud800": 1}}, "a.\\ud800"),
    "in a column that is not read": ({"a": 1, "other": "\ud83d"}, "other"),
}


@pytest.mark.parametrize(("record", "field"), HALVES.values(), ids=HALVES.keys())
@pytest.mark.parametrize("is_array", [False, True], ids=["lines", "array"])
def test_half_of_a_surrogate_pair_is_told_with_its_field(
    tmp_path: Path, record: dict[str, Any], field: str, is_array: bool
) -> None:
    texts = [json.dumps(value) for value in ({"a": "é😀"}, record, {"a": 3})]
    content = f"[{','.join(texts)}]" if is_array else "\n".join(texts)
    first, second, third = read(tmp_path / ("a.json" if is_array else "a.jsonl"), content.encode())
    assert isinstance(second.content, Defect)
    assert (second.number, second.content.kind, second.content.field) == (2, "no-text", field)
    # What is told goes into reports, which are UTF-8.
    assert f"{second.content}".encode()
    assert (first.content, third.content) == ({"a": "é😀"}, {"a": 3})


def test_bytes_of_an_array_that_are_not_utf8_are_told_with_their_field(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a.json", b'[{"a": 1}, {"a": "\xe9"}]')
    assert first.content == {"a": 1}
    assert isinstance(second.content, Defect)
    assert (second.number, second.content.kind, second.content.field) == (2, "no-text", "a")
    assert "0xe9" in second.content.message


@pytest.mark.parametrize("content", [b"x\xed\xa0\xbd", b"\xe9"], ids=["half of a surrogate pair", "another encoding"])
@pytest.mark.parametrize("is_nested", [False, True], ids=["a column", "a struct"])
def test_strings_of_a_table_that_are_no_text_are_told_with_their_column(
    tmp_path: Path, content: bytes, is_nested: bool
) -> None:
    # As others write it: Arrow itself makes no such string, and checks none that it reads.
    strings = pa.array([b"p", content, b"r"]).view(pa.string())
    column = pa.StructArray.from_arrays([strings], ["content"]) if is_nested else strings
    pq.write_table(pa.table({"prompt": ["1", "2", "3"], "messages": column}), tmp_path / "a.parquet")
    first, second, third = read_file(tmp_path / "a.parquet")
    assert isinstance(second.content, Defect)
    assert (second.number, second.content.kind, second.content.field) == (2, "no-text", "messages")
    assert isinstance(first.content, dict)
    assert isinstance(third.content, dict)
    assert third.content["prompt"] == "3"


def test_lines_in_a_json_file_are_read_as_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", b'{"a": 1}\n{"a": 2}\n') == [Record(1, {"a": 1}), Record(2, {"a": 2})]


ARRAYS = {
    "an element": (b'[{"a": 1},\n{"a": }]', 2, "not a JSON array: Expecting value at line 2 column 7"),
    "a comma": (b'[{"a": 1}\n{"a": 2}]', 2, "not a JSON array: expected a comma or the end of the array at line 2"),
    "depth without an end": (
        b'[{"a": 1},\n' + b"[" * 5000 + b"]" * 5000 + b"]",
        2,
        "not a JSON array: nested too deeply at line 2",
    ),
    "a number without an end": (
        b'[{"a": 1},\n{"a": ' + b"7" * 5000 + b"}]",
        2,
        "not a JSON array: a number is too long at line 2",
    ),
    "the end": (b'[{"a": 1}', 2, "not a JSON array: expected a comma or the end of the array at line 1"),
}


@pytest.mark.parametrize(("content", "number", "message"), ARRAYS.values(), ids=ARRAYS.keys())
def test_of_a_broken_array_the_place_is_told(tmp_path: Path, content: bytes, number: int, message: str) -> None:
    first, broken = read(tmp_path / "a.json", content)
    assert first == Record(1, {"a": 1})
    assert isinstance(broken.content, Defect)
    assert broken.number == number
    assert broken.content.message.startswith(message)


def test_an_empty_array_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", b" [ ]\n") == []


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSIONS.items(), ids=COMPRESSIONS)
def test_compressed_files_are_read_and_damaged_ones_are_named(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    content = b"".join(b'{"a": %d}\n' % number for number in range(20_000))
    records = read(tmp_path / f"a.jsonl.{suffix}", compress(content))
    assert (len(records), records[-1]) == (20_000, Record(20_000, {"a": 19_999}))
    assert read(tmp_path / f"a.json.{suffix}", compress(b'[{"a": 1}]')) == [Record(1, {"a": 1})]
    whole = compress(content)
    *_, last = read(tmp_path / f"b.jsonl.{suffix}", whole[:10] + bytes(20) + whole[30:])
    assert isinstance(last.content, Defect)
    assert last.content.kind == "corrupt-file"


def test_tables_are_read_by_row_and_absent_fields_are_left_out(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}], "other": 1},
        {"messages": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "s"}], "other": 2},
    ] * 1000
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=700)
    records = read_file(tmp_path / "a.parquet")
    assert [record.number for record in records] == list(range(1, 2001))
    assert [record.content for record in records] == [{"messages": row["messages"]} for row in rows]


def test_of_a_table_without_known_columns_all_are_shown(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"x": "1", "y": "2"}]), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet") == [Record(1, {"x": "1", "y": "2"})]


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    (record,) = read(tmp_path / "a.parquet", b"PAR1 not really")
    assert isinstance(record.content, Defect)
    assert record.content.kind == "corrupt-file"
