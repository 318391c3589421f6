"""What may be quoted of a log: little, and nothing that looks secret."""

import re

from pydantic import ValidationError

from customizer_contract.logs import LogEntry
from customizer_contract.redaction import MASK, mask_secrets

_MOST_LINES = 20
_LONGEST_LINE = 300
_LONGEST_QUOTE = 2048

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t\n\x20-\x7e\u00a0-\U0010ffff]")
# Long words of all kinds of characters, such as the secret keys of S3. Digests have one case.
_LONG_WORD = re.compile(r"(?<![\w/+=-])(?=[\w/+=-]*[a-z])(?=[\w/+=-]*[A-Z])(?=[\w/+=-]*\d)[\w/+=-]{32,}")


def quote_log(text: str) -> str | None:
    """Returns the last lines of a log, short and with secrets masked; None when there are none."""
    lines = [_CONTROL.sub("", said).rstrip() for line in text.splitlines() for said in _read(line)]
    quoted = [_LONG_WORD.sub(MASK, mask_secrets(line))[:_LONGEST_LINE] for line in lines if line][-_MOST_LINES:]
    while len("\n".join(quoted)) > _LONGEST_QUOTE:
        quoted.pop(0)
    return "\n".join(quoted) or None


def _read(line: str) -> list[str]:
    """Returns what an entry of the trainer's log says to people; any other line as it is."""
    try:
        entry = LogEntry.model_validate_json(line)
    except ValidationError:
        return [line]
    return entry.for_people.splitlines()
