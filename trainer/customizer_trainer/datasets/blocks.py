"""Files in blocks of some megabytes: what one process reads, others check and encode."""

import json
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from customizer_trainer.datasets.compression import CORRUPT, open_plain
from customizer_trainer.datasets.hashed import Hasher, hash_rest, open_hashed
from customizer_trainer.datasets.problems import Defect, Unit

BLOCK_BYTES = 2**21
_ROWS = 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records of a file, undecoded; or what is wrong with all that follows."""

    unit: Unit
    first: int
    """Number of the first one, from 1: of the line, the element of an array, the row of a table."""
    content: Any
    """Lines as bytes, elements as a list, rows as an Arrow record batch; a Defect where the file is damaged."""
    unread: Mapping[str, bool] = field(default_factory=dict)
    """Columns of the table that are not read, each with whether it holds strings."""


def read_blocks(path: Path, columns: frozenset[str], hasher: Hasher | None = None) -> Iterator[Block]:
    """Reads JSON Lines, one JSON array of objects, or Parquet; of Parquet only `columns`, if it has any of them.

    At the end, all that is stored in the file has gone into the hash if there is one, unless the file is damaged.
    """
    unit: Unit = "line"
    number = 1
    try:
        for block in _read(path, columns, hasher):
            unit, number = block.unit, block.first
            yield block
    except (*CORRUPT, OSError) as error:
        # A disk that fails says a number; damaged bzip2 does not.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        defect = Defect("corrupt-file", None, f"the file is damaged from here on: {error}; upload it again")
        yield Block(unit, number, defect)


def _read(path: Path, columns: frozenset[str], hasher: Hasher | None) -> Iterator[Block]:
    if path.suffix == ".parquet":
        yield from _tables(path, columns)
        if hasher is not None:
            # Read in no order.
            with open_hashed(path, hasher) as stored:
                hash_rest(stored)
        return
    with open_hashed(path, hasher) as stored, open_plain(path, stored) as stream:
        head = stream.read(BLOCK_BYTES).removeprefix(_BYTE_ORDER_MARK)
        if ".json" in path.suffixes and head.lstrip().startswith(b"["):
            yield from _elements(head, stream)
        else:
            yield from _lines(head, stream)
        if hasher is not None:
            hash_rest(stored)


def _lines(head: bytes, stream: IO[bytes]) -> Iterator[Block]:
    first, pieces = 1, [head]
    while piece := stream.read(BLOCK_BYTES):
        end = piece.rfind(b"\n") + 1
        if not end:
            pieces.append(piece)
            continue
        content = b"".join([*pieces, piece[:end]])
        yield Block("line", first, content)
        first += content.count(b"\n")
        pieces = [piece[end:]]
    yield Block("line", first, b"".join(pieces))


def _elements(head: bytes, stream: IO[bytes]) -> Iterator[Block]:
    """Decodes an array piece by piece, so that a large one never is in memory as a whole."""
    text = _Text(head, stream)
    decoder, first = json.JSONDecoder(), 1
    elements: list[object] = []
    text.skip("[")
    while (character := text.peek()) not in ("]", ""):
        if elements and character == ",":
            text.skip(",")
        elif elements or first > 1:
            break
        value = text.decode(decoder)
        if isinstance(value, Defect):
            yield Block("element", first, elements)
            yield Block("element", first + len(elements), value)
            return
        elements.append(value)
        if len(elements) == _ROWS:
            yield Block("element", first, elements)
            first, elements = first + len(elements), []
    yield Block("element", first, elements)
    if text.peek() != "]":
        yield Block("element", first + len(elements), text.defect("expected a comma or the end of the array"))


class _Text:
    """A window over the text of a stream."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._stream = stream
        self._bytes = head
        # What is not UTF-8 is told of the element that holds it, when this is looked at.
        self._decoder = getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._text = ""
        self._at = 0
        self._line = 1
        self._read()

    def peek(self) -> str:
        """Returns the next character that is not blank, or nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def skip(self, character: str) -> None:
        """Moves behind the next character, which is this one."""
        if self.peek() == character:
            self._at += 1

    def decode(self, decoder: json.JSONDecoder) -> object:
        """Returns the next value, or a Defect."""
        while True:
            self.peek()
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Whatever is cut off at the end of the window may be whole with more of it.
                if self._read():
                    continue
                self._at = error.pos
                return self.defect(error.msg)
            except ValueError:
                return self.defect("a number is too long")
            except RecursionError:
                return self.defect("nested too deeply")
            # A number may go on.
            if end == len(self._text) and self._read():
                continue
            self._at = end
            return value

    def defect(self, message: str) -> Defect:
        """Returns what is wrong at this place."""
        line = self._line + self._text.count("\n", 0, self._at)
        column = self._at - self._text.rfind("\n", 0, self._at)
        return Defect("invalid-json", None, f"not a JSON array: {message} at line {line} column {column}")

    def _read(self) -> bool:
        """Drops what has been decoded and appends what comes next; tells whether there was more."""
        piece, self._bytes = self._bytes or self._stream.read(BLOCK_BYTES), b""
        if not piece:
            return False
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + self._decoder.decode(piece)
        self._at = 0
        return True


def _tables(path: Path, columns: frozenset[str]) -> Iterator[Block]:
    # Takes a while to import, which JSON need not wait for.
    from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]

    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            wanted = [name for name in file.schema_arrow.names if name in columns] or None
            unread = {} if wanted is None else _describe_others(file.schema_arrow, wanted)
            first = 1
            for batch in file.iter_batches(batch_size=_ROWS, columns=wanted, use_threads=False):
                yield Block("row", first, batch, unread)
                first += len(batch)
    except (ArrowException, OSError) as error:
        yield Block("row", 1, Defect("corrupt-file", None, f"not a Parquet file that can be read: {error}"))


def _describe_others(schema: Any, wanted: list[str]) -> dict[str, bool]:
    """Tells of the columns that are not wanted whether they hold strings; one of nulls alone counts as absent."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        if types.is_dictionary(kind):
            return is_text(kind.value_type)
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))

    others = (column for column in schema if column.name not in wanted and not types.is_null(column.type))
    return {column.name: is_text(column.type) for column in others}
