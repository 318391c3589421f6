"""Which format the data have, and records to values of that format."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from customizer_trainer.datasets.conversations import Conversation, parse_conversation
from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.prompts import Columns, Pair, parse_pair

Format = Literal["prompt-completion", "chat", "text"]

TEXT = "text"
"""The column of plain text."""
_LABELS = frozenset({"class", "target"})
NOTHING_UNREAD: Mapping[str, bool] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Text:
    """A text of which all is learned."""

    text: str


Example = Pair | Conversation | Text


def read_columns(columns: Columns) -> frozenset[str]:
    """Returns the names of all columns that are read, whatever the format."""
    return frozenset({"messages", "tools", columns.prompt, columns.completion, TEXT})


def detect(record: dict[str, Any], columns: Columns, unread: Mapping[str, bool] = NOTHING_UNREAD) -> Format | Defect:
    """Tells the format of a record by its fields, and by columns beside them, each with whether it holds strings."""
    is_chat = "messages" in record
    is_pair = columns.prompt in record or columns.completion in record
    if is_chat and is_pair:
        both = f"has both messages and {columns.prompt} or {columns.completion}: keep one of the two forms"
        return Defect("ambiguous-record", "messages", both)
    if is_chat:
        return "chat"
    if is_pair:
        return "prompt-completion"
    # A label beside a text shows that two columns are meant, so that a template is missing.
    holds_text = {**unread, **{name: isinstance(value, str) for name, value in record.items() if value is not None}}
    if holds_text.get(TEXT) and not any(_may_be_label(*each) for each in holds_text.items()):
        return "text"
    found = ", ".join(sorted({*record, *unread})) or "none"
    expected = (
        f"expected {columns.prompt} and {columns.completion}, or messages, or {TEXT} alone (fields: {found});"
        " two other columns can be named in dataset.promptTemplate"
    )
    return Defect("unknown-format", None, expected)


def _may_be_label(name: str, holds_text: bool) -> bool:
    """Tells whether a column could be what is to be learned of a text: another text, or one that says that it is."""
    return name != TEXT and (holds_text or name.lower().startswith("label") or name.lower() in _LABELS)


class Parser:
    """Parses records, all of one format."""

    def __init__(self, columns: Columns, format_: Format | None) -> None:
        self._columns = columns
        self._format = format_

    def parse(self, record: dict[str, Any], unread: Mapping[str, bool] = NOTHING_UNREAD) -> Example | list[Defect]:
        """Returns the record's value, or all that is wrong with it; `unread` is as `detect` takes it."""
        found = detect(record, self._columns, unread)
        if isinstance(found, Defect):
            return [found]
        if found != self._format:
            mixed = f"a {found} record among {self._format} records: all records must have one format"
            return [Defect("mixed-formats", None, mixed)]
        match found:
            case "chat":
                return parse_conversation(record)
            case "prompt-completion":
                return parse_pair(record, self._columns)
            case "text":
                text = record[TEXT]
                return Text(text) if text else [Defect("empty-text", TEXT, "expected a text, found an empty string")]
