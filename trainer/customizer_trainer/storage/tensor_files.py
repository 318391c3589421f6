"""The headers of safetensors files: which tensors lie where, without reading one."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEADER_LIMIT = 100 * 2**20
"""Bytes: a longer one is against the format, and ends in the middle, so that it is no JSON."""
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file."""

    dtype: str
    """As the format names it: BF16, F32, ..."""
    shape: tuple[int, ...]
    first: int
    """Its bytes within the file: from here."""
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by name. Raises OSError, or ValueError for what is no safetensors file."""
    with path.open("rb") as stream:
        prefix = stream.read(_LENGTH)
        if len(prefix) < _LENGTH:
            raise ValueError("it has no header")
        (length,) = struct.unpack("<Q", prefix)
        text = stream.read(min(length, _HEADER_LIMIT))
    try:
        header = json.loads(text)
        return {name: _read(entry, _LENGTH + length) for name, entry in header.items() if name != "__metadata__"}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"its header is malformed: {error}") from error


def _read(entry: dict[str, Any], start: int) -> Tensor:
    shape, (first, end) = tuple(entry["shape"]), entry["data_offsets"]
    for number in (*shape, first, end):
        if not isinstance(number, int) or number < 0:
            raise TypeError(f"{number!r} is no size")
    return Tensor(str(entry["dtype"]), shape, start + first, start + end)
