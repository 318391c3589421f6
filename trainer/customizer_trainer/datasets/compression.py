"""Data files as plain bytes, whatever compresses them."""

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

CORRUPT = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What reading a damaged file raises."""


def open_plain(path: Path, stored: BinaryIO) -> IO[bytes]:
    """Reads a file's content from what is stored of it; its name says how it is compressed. Damage shows while reading.

    Closing it leaves `stored` open.
    """
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(stored, "rb"))
        case ".zst":
            return cast(IO[bytes], zstandard.open(stored, "rb", closefd=False))
        case ".bz2":
            return cast(IO[bytes], bz2.open(stored, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(stored, "rb"))
    return stored
