"""Prompt/completion records: two columns of text."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import PROMPT_TEMPLATE_PATTERN
from customizer_trainer.datasets.problems import Defect

_TEMPLATE = re.compile(PROMPT_TEMPLATE_PATTERN)
_COLUMN = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the two columns."""

    prompt: str = "prompt"
    completion: str = "completion"


class Pair(NamedTuple):
    """A text and how it should go on. At inference the server is given exactly this prompt."""

    prompt: str
    completion: str


def parse_template(template: str | None) -> Columns:
    """Reads `{prompt column} {completion column}`; without a template, `prompt` and `completion`."""
    if template is None:
        return Columns()
    columns = [name.strip() for name in _COLUMN.findall(template)]
    if not _TEMPLATE.match(template) or columns[0] == columns[1]:
        raise CustomizerError(
            Reason.JOB_FILE_INVALID,
            f"dataset.promptTemplate {template!r}: name two columns, as in '{{question}} {{answer}}'.",
            field="dataset.promptTemplate",
        )
    return Columns(*columns)


def parse_pair(record: dict[str, Any], columns: Columns) -> Pair | list[Defect]:
    """Returns the pair, or all that is wrong with the record. Other columns are ignored."""
    prompt, completion = record.get(columns.prompt), record.get(columns.completion)
    if prompt and completion and isinstance(prompt, str) and isinstance(completion, str):
        return Pair(prompt, completion)
    defects = []
    for column in (columns.prompt, columns.completion):
        if column not in record:
            found = ", ".join(sorted(record)) or "none"
            defects.append(Defect("missing-field", column, f"expected a string, found no such field (fields: {found})"))
        elif not isinstance(record[column], str):
            defects.append(Defect("wrong-type", column, f"expected a string, found {_kind(record[column])}"))
        elif not record[column]:
            defects.append(Defect("empty-text", column, "expected a text, found an empty string"))
    return defects


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
