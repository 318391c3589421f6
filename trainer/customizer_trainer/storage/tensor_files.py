"""The headers of safetensors files: which tensors lie where, without reading one."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

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
        header = json.loads(stream.read(min(length, _HEADER_LIMIT)))
    try:
        return {
            name: Tensor(
                str(entry["dtype"]),
                tuple(entry["shape"]),
                *(_LENGTH + length + offset for offset in entry["data_offsets"]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its header is malformed: {error}") from error
