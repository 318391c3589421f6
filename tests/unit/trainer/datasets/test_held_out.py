"""Validation records are kept as they were written, wherever they came from."""

import json
from pathlib import Path
from typing import Any

import pytest

from customizer_trainer.datasets import held_out
from customizer_trainer.datasets.held_out import render_held_out
from customizer_trainer.datasets.prepare import Data, Preparation, prepare
from customizer_trainer.datasets.prompts import parse_template
from customizer_trainer.datasets.store import read_indices
from customizer_trainer.datasets.tokenizing import Tokenizer


def build_rows(count: int, word: str = "What is") -> list[dict[str, str]]:
    return [{"q": f"{word} {number}?", "a": f" Number {number}."} for number in range(count)]


def write(path: Path, rows: list[dict[str, str]], *, as_array: bool = False) -> Path:
    path.write_text(json.dumps(rows) if as_array else "\n\n".join(json.dumps(row) for row in rows))
    return path


def keep(data: Data, tokenizer: Tokenizer, folder: Path) -> list[Any]:
    how = Preparation(parse_template("{q} {a}"), 64, 0.2, seed=1, with_tokens=False)
    prepared = prepare(data, lambda _: tokenizer, how, folder)
    lines = render_held_out(data, prepared, "{q} {a}").decode().splitlines()
    assert len(lines) == min(held_out.MOST, prepared.facts.validation.samples)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("as_array", [False, True], ids=["of lines", "of an array"])
def test_what_was_split_off_is_kept(tmp_path: Path, tokenizer: Tokenizer, as_array: bool) -> None:
    rows = build_rows(20)
    data = Data({"a.json": write(tmp_path / "a.json", rows, as_array=as_array)}, {})
    kept = keep(data, tokenizer, tmp_path / "samples")
    assert kept == [rows[number] for number in read_indices(tmp_path / "samples" / "validation.npy")]


def test_of_many_given_records_a_bounded_number_is_kept_from_all_over(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "MOST", 5)
    rows = build_rows(41, "Where is")
    training = {"a.jsonl": write(tmp_path / "a.jsonl", build_rows(3))}
    files = {"b.jsonl": write(tmp_path / "b.jsonl", rows[:21]), "c.jsonl": write(tmp_path / "c.jsonl", rows[21:])}
    assert keep(Data(training, files), tokenizer, tmp_path / "samples") == rows[::10]
