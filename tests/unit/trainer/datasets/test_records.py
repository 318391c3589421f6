import gzip
from pathlib import Path

import pytest

from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.records import Record, read_records


def read(path: Path, content: bytes) -> list[Record]:
    path.write_bytes(content)
    return list(read_records(path))


def test_lines_keep_their_numbers_and_blank_ones_are_skipped(tmp_path: Path) -> None:
    records = read(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert records == [Record(1, {"a": 1}), Record(4, {"a": 2})]


DEFECTS = {
    "broken JSON": (b'{"a": 1,}', "invalid-json", "not valid JSON: "),
    "an array": (b"7", "not-an-object", "expected a JSON object, found 7"),
    "another encoding": (b'{"a": "\xe9"}', "invalid-utf8", "not UTF-8 (byte 8 of the line)"),
}


@pytest.mark.parametrize(("line", "kind", "message"), DEFECTS.values(), ids=DEFECTS.keys())
def test_what_is_no_record_is_told_and_reading_goes_on(tmp_path: Path, line: bytes, kind: str, message: str) -> None:
    first, second, third = read(tmp_path / "a.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    assert isinstance(second.content, Defect)
    assert second.line == 2
    assert second.content.kind == kind
    assert second.content.message.startswith(message)
    assert (first.content, third.content) == ({"a": 1}, {"a": 3})


def test_an_array_is_read_element_by_element(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", b'[{"a": 1}, {"a": 2}]') == [Record(1, {"a": 1}), Record(2, {"a": 2})]


def test_lines_in_a_json_file_are_read_as_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", b'{"a": 1}\n{"a": 2}\n') == [Record(1, {"a": 1}), Record(2, {"a": 2})]


def test_a_broken_array_is_one_defect(tmp_path: Path) -> None:
    (record,) = read(tmp_path / "a.json", b'[{"a": 1},\n{"a": }]')
    assert isinstance(record.content, Defect)
    assert record.line == 2


def test_compressed_files_are_read(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl.gz", gzip.compress(b'{"a": 1}\n')) == [Record(1, {"a": 1})]
