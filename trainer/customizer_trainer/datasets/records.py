"""JSON objects out of blocks, one after the other, each with its number."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json

from customizer_trainer.datasets.blocks import Block
from customizer_trainer.datasets.problems import Defect

_SHOWN = 60


class Record(NamedTuple):
    """A record, or what is wrong with what should have been one; None for a blank line."""

    number: int
    content: dict[str, Any] | Defect | None


def read_records(block: Block) -> Iterator[Record]:
    """Decodes the records of a block. A number from 1 tells each one's place in the file."""
    content = block.content
    if isinstance(content, Defect):
        yield Record(block.first, content)
    elif isinstance(content, bytes):
        yield from _lines(block.first, content)
    elif isinstance(content, list):
        for number, element in enumerate(content, start=block.first):
            yield Record(number, _object(element))
    else:
        for number, row in enumerate(content.to_pylist(), start=block.first):
            yield Record(number, without_nulls(row))


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """Leaves out nulls at any depth: a table gives all of its structs the same fields, and fills in what is absent."""
    return {name: _without_nulls(value) for name, value in row.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return without_nulls(value)
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _lines(first: int, content: bytes) -> Iterator[Record]:
    lines = content.split(b"\n")
    if not lines[-1]:
        del lines[-1]
    for number, line in enumerate(lines, start=first):
        text = line.strip()
        yield Record(number, _parse(text) if text else None)


def _parse(text: bytes) -> dict[str, Any] | Defect:
    try:
        return _object(from_json(text))
    except ValueError as error:
        return _explain(text, error)


def _explain(text: bytes, error: ValueError) -> Defect:
    try:
        json.loads(text.decode())
    except UnicodeDecodeError as undecodable:
        return Defect("invalid-utf8", None, f"not UTF-8 (byte {undecodable.start + 1} of the line)")
    except json.JSONDecodeError as broken:
        return Defect("invalid-json", None, f"not valid JSON: {broken.msg} at column {broken.colno}")
    except RecursionError:
        pass
    # Half of a surrogate pair, or deeper than anything sensible: what no tokenizer takes.
    return Defect("invalid-json", None, f"not valid JSON: {error}")


def _object(value: object) -> dict[str, Any] | Defect:
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, default=str)[:_SHOWN]
    return Defect("not-an-object", None, f"expected a JSON object, found {shown}")
