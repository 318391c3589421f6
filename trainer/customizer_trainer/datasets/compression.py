"""Data files as plain bytes, whatever compresses them."""

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

import zstandard

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

CORRUPT = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What reading a damaged file raises."""


def open_plain(path: Path) -> IO[bytes]:
    """Opens a file for reading; its name says how it is compressed. Damage shows while reading."""
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".zst":
            return cast(IO[bytes], zstandard.open(path, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(path, "rb"))
    return path.open("rb")
