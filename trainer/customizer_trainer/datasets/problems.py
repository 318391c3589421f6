"""What is wrong with records: collected over the whole of the data, reported as one error that names the first."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason

KEPT = 20
"""Problems that are kept in full; the rest is only counted."""


Unit = Literal["line", "element", "row"]
"""What the records of a file are counted in: lines of JSON Lines, elements of an array, rows of Parquet."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong within a record, wherever the record stands."""

    kind: str
    """A short constant to count by, e.g. `missing-field`."""
    field: str | None
    """Path within the record, e.g. `messages[2].role`."""
    message: str
    """What was expected and what was found."""


class RecordProblem(Model):
    """A defect and where it stands, as the preflight report lists it."""

    kind: str
    file: str
    unit: Unit = "line"
    line: int
    """The number of the line, element or row, from 1."""
    field: str | None = None
    message: str


class Problems:
    """The problems of all files: the first ones in full, all of them counted by kind."""

    def __init__(self) -> None:
        self.first: list[RecordProblem] = []
        self.counts: Counter[str] = Counter()

    def add(self, file: str, unit: Unit, number: int, defect: Defect) -> None:
        """Records a defect of the record with this number (from 1) of this file."""
        self.counts[defect.kind] += 1
        if len(self.first) < KEPT:
            self.first.append(
                RecordProblem(
                    kind=defect.kind, file=file, unit=unit, line=number, field=defect.field, message=defect.message
                )
            )

    def extend(self, others: "Problems") -> None:
        """Appends the problems of the records that follow."""
        self.counts += others.counts
        self.first += others.first[: KEPT - len(self.first)]

    def raise_if_any(self) -> None:
        """Raises InvalidRecordsError, which names the first problem and tells how many more there are."""
        if self.first:
            raise InvalidRecordsError(self)


class InvalidRecordsError(CustomizerError):
    """Records that cannot be trained on."""

    def __init__(self, problems: Problems, report_uri: str | None = None) -> None:
        first = problems.first[0]
        place = f"{first.file}, {first.unit} {first.line}" + (f", field {first.field}" if first.field else "")
        more = problems.counts.total() - 1
        rest = f" And {more} more: {_summary(problems.counts)}." if more else ""
        where = f" The whole report is {report_uri}." if report_uri else ""
        message = f"{place}: {first.message}.{rest}{where}"
        super().__init__(Reason.DATASET_INVALID, message, file=first.file, line=first.line, field=first.field)
        self.problems = problems

    def with_report(self, uri: str) -> "InvalidRecordsError":
        """Returns the error with the address of the report, which has more of the problems in full."""
        return InvalidRecordsError(self.problems, uri)


def _summary(counts: Counter[str]) -> str:
    return "in all " + ", ".join(f"{number} {kind}" for kind, number in counts.most_common())
