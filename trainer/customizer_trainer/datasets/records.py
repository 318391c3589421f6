"""JSON objects out of files, one after the other, each with its place."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from customizer_trainer.datasets.problems import Defect

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Record:
    """A record, or what is wrong with the text that should have been one."""

    line: int
    """From 1. In a JSON array, the number of the element."""
    content: dict[str, Any] | Defect


def read_records(path: Path) -> Iterator[Record]:
    """Reads JSON Lines (blank lines are skipped), or one JSON array of objects, gzipped or not.

    Lines are streamed; an array is read whole.
    """
    with _open(path) as stream:
        if ".json" in path.suffixes and _starts_array(stream):
            yield from _elements(stream)
            return
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text:
                yield Record(number, _parse(text))


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _starts_array(stream: IO[bytes]) -> bool:
    head = stream.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    return head.startswith(b"[")


def _elements(stream: IO[bytes]) -> Iterator[Record]:
    try:
        elements = json.loads(stream.read().decode("utf-8-sig"))
    except ValueError as error:
        yield Record(getattr(error, "lineno", 1), Defect("invalid-json", None, f"not a JSON array: {error}"))
        return
    for number, element in enumerate(elements, start=1):
        yield Record(number, _object(element))


def _parse(text: bytes) -> dict[str, Any] | Defect:
    try:
        return _object(json.loads(text.decode()))
    except UnicodeDecodeError as error:
        return Defect("invalid-utf8", None, f"not UTF-8 (byte {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return Defect("invalid-json", None, f"not valid JSON: {error.msg} at column {error.colno}")


def _object(value: object) -> dict[str, Any] | Defect:
    if isinstance(value, dict):
        return value
    shown = json.dumps(value)[:_SHOWN]
    return Defect("not-an-object", None, f"expected a JSON object, found {shown}")
