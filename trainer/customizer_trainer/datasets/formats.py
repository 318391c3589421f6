"""Which format the data have, and records to values of that format."""

from typing import Any, Literal

from customizer_trainer.datasets.conversations import Conversation, parse_conversation
from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.prompts import Columns, Pair, parse_pair

Format = Literal["prompt-completion", "chat"]
Example = Pair | Conversation


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
    found = ", ".join(sorted(record)) or "none"
    expected = f"expected {columns.prompt} and {columns.completion}, or messages (fields: {found})"
    return Defect("unknown-format", None, expected)


class Parser:
    """Parses records one after the other; the first one that can be told decides the format of all."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.format: Format | None = None

    def parse(self, record: dict[str, Any]) -> Example | list[Defect]:
        """Returns the record's value, or all that is wrong with it."""
        found = detect(record, self._columns)
        if isinstance(found, Defect):
            return [found]
        if self.format is None:
            self.format = found
        if found != self.format:
            mixed = f"a {found} record among {self.format} records: all records must have one format"
            return [Defect("mixed-formats", None, mixed)]
        return parse_conversation(record) if found == "chat" else parse_pair(record, self._columns)
