"""Which format the data have, and records to values of that format."""

from dataclasses import dataclass
from typing import Any, Literal

from customizer_trainer.datasets.conversations import Conversation, parse_conversation
from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.prompts import Columns, Pair, parse_pair

Format = Literal["prompt-completion", "chat", "text"]

TEXT = "text"
"""The column of plain text."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of which all is learned."""

    text: str


Example = Pair | Conversation | Text


def read_columns(columns: Columns) -> frozenset[str]:
    """Returns the names of all columns that are read, whatever the format."""
    return frozenset({"messages", "tools", columns.prompt, columns.completion, TEXT})


def detect(record: dict[str, Any], columns: Columns) -> Format | Defect:
    """Tells the format of a record by its fields."""
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
    if [name for name, value in record.items() if isinstance(value, str)] == [TEXT]:
        return "text"
    found = ", ".join(sorted(record)) or "none"
    expected = (
        f"expected {columns.prompt} and {columns.completion}, or messages, or {TEXT} alone (fields: {found});"
        " two other columns can be named in dataset.promptTemplate"
    )
    return Defect("unknown-format", None, expected)


class Parser:
    """Parses records, all of one format."""

    def __init__(self, columns: Columns, format_: Format | None) -> None:
        self._columns = columns
        self._format = format_

    def parse(self, record: dict[str, Any]) -> Example | list[Defect]:
        """Returns the record's value, or all that is wrong with it."""
        found = detect(record, self._columns)
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
