"""JSON objects out of blocks, one after the other, each with its number."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json

from customizer_trainer.datasets.blocks import Block
from customizer_trainer.datasets.characters import find_no_text
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
            yield Record(number, find_no_text(element) or _object(element))
    else:
        for number, row in enumerate(_rows(content), start=block.first):
            yield Record(number, row if isinstance(row, Defect) else without_nulls(row))


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """Leaves out nulls at any depth: a table gives all of its structs the same fields, and fills in what is absent."""
    return {name: _without_nulls(value) for name, value in row.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return without_nulls(value)
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _rows(batch: Any) -> list[dict[str, Any] | Defect]:
    """Decodes the rows of an Arrow record batch, of which nobody has checked the strings."""
    try:
        rows: list[dict[str, Any] | Defect] = batch.to_pylist()
    except UnicodeDecodeError:
        return [_row(batch.slice(index, 1)) for index in range(len(batch))]
    return rows


def _row(batch: Any) -> dict[str, Any] | Defect:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            (row[name],) = column.to_pylist()
        except UnicodeDecodeError as error:
            found = f"the byte 0x{error.object[error.start]:02x} at byte {error.start + 1}"
            return Defect("no-text", name, f"expected a text, found {found}, which is not UTF-8")
    return row


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
        if (no_text := find_no_text(json.loads(text.decode()))) is not None:
            return no_text
    except UnicodeDecodeError as undecodable:
        return Defect("invalid-utf8", None, f"not UTF-8 (byte {undecodable.start + 1} of the line)")
    except json.JSONDecodeError as broken:
        return Defect("invalid-json", None, f"not valid JSON: {broken.msg} at column {broken.colno}")
    except (ValueError, RecursionError):
        pass
    # Deeper, or a longer number, than anything sensible.
    return Defect("invalid-json", None, f"not valid JSON: {error}")


def _object(value: object) -> dict[str, Any] | Defect:
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, default=str)[:_SHOWN]
    return Defect("not-an-object", None, f"expected a JSON object, found {shown}")
