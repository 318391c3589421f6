"""operator/TROUBLESHOOTING.md: every reason that a condition or an attempt can name, from where it is defined; and the
README's table of those that are met most often.

`python -m customizer_operator.troubleshooting` writes the page and the table.
"""

import ast
import inspect
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import Reason
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.remedies import JOB_REMEDIES, SERVING_REMEDIES
from customizer_operator.api.serving_reasons import ServingReason

PAGE = Path("operator/TROUBLESHOOTING.md")
README = Path("README.md")
_Reasons = TypeVar("_Reasons", bound=StrEnum)
_BEGIN, _END = "<!-- generated: make crds -->", "<!-- end -->"
_OFTEN = (
    ConditionReason.SECRET_MISSING,
    ConditionReason.VOLUME_CLAIM_MISSING,
    ConditionReason.SERVICE_ACCOUNT_MISSING,
    ConditionReason.IMAGE_UNAVAILABLE,
    ConditionReason.UNSCHEDULABLE,
    ConditionReason.POD_REFUSED,
    ConditionReason.QUOTA_EXCEEDED,
    ConditionReason.POD_SECURITY_REFUSED,
    ConditionReason.QUEUED,
    ConditionReason.QUEUE_MISSING,
    ConditionReason.QUEUE_CLOSED,
    ConditionReason.QUEUE_INTEGRATION_OFF,
    ConditionReason.REFUSED,
    ConditionReason.TRAINING_OPERATOR_MISSING,
    Reason.DATASET_INVALID,
    Reason.OUTPUT_EXISTS,
    Reason.INPUTS_CHANGED,
    Reason.OUT_OF_MEMORY,
    Reason.GPU_OUT_OF_MEMORY,
    ConditionReason.MAX_ATTEMPTS_REACHED,
    ServingReason.SERVER_CRASHING,
    Reason.ARTIFACT_INVALID,
)
"""What the README's table has."""
_HEAD = """# Troubleshooting

Begin with `kubectl describe cjob NAME` or `kubectl describe md NAME`: `Message` says what goes on and what to do. The
conditions, `status.attempts` and the events name a reason; here is what each one means. The page is generated
(`make crds`).
"""


def render() -> str:
    """Returns the page."""
    problems = [
        f"| `{reason}` | {entry.meaning} | {entry.remedy} | {'yes' if entry.retryable else 'no'} |"
        for reason, entry in CATALOGUE.items()
    ]
    return "\n".join(
        [
            _HEAD,
            "## What ends an attempt, preflight, or a server's start",
            "",
            "| reason | meaning | what to do | tried again |",
            "|---|---|---|---|",
            *problems,
            "",
            "## Reasons of a CustomizationJob's conditions",
            "",
            *_list_reasons(ConditionReason, JOB_REMEDIES),
            "",
            "## Reasons of a ModelDeployment's conditions",
            "",
            *_list_reasons(ServingReason, SERVING_REMEDIES),
            "",
        ]
    )


def render_readme(readme: str) -> str:
    """Returns the README with its table as the reasons are. Raises ValueError if it has no place for it."""
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{README} has no lines {_BEGIN} and {_END}")
    rows = ["| you see | it means | do |", "|---|---|---|", *(_tell(reason) for reason in _OFTEN)]
    return "\n".join([before + begin, *rows, end + after])


def _tell(reason: StrEnum) -> str:
    match reason:
        case Reason():
            meaning, remedy = CATALOGUE[reason].meaning, CATALOGUE[reason].remedy
        case ConditionReason():
            meaning, remedy = _find_meanings(ConditionReason)[reason], JOB_REMEDIES[reason]
        case ServingReason():
            meaning, remedy = _find_meanings(ServingReason)[reason], SERVING_REMEDIES[reason]
        case _:
            raise TypeError(f"{reason} is of no kind that is explained")
    return f"| `{reason}` | {meaning} | {remedy} |"


def _list_reasons(reasons: type[_Reasons], remedies: Mapping[_Reasons, str]) -> list[str]:
    """Returns a table of an enumeration; what is no trouble has no remedy."""
    meanings = _find_meanings(reasons)
    return [
        "| reason | meaning | what to do |",
        "|---|---|---|",
        *(f"| `{reason}` | {meanings[reason]} | {remedies.get(reason, '')} |" for reason in reasons),
    ]


def _find_meanings(reasons: type[StrEnum]) -> dict[str, str]:
    """Returns the texts of an enumeration whose members are documented by the string below them."""
    [definition] = ast.parse(inspect.getsource(reasons)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{reasons} is not a class")
    meanings = {}
    for member, text in zip(definition.body, definition.body[1:], strict=False):
        match member, text:
            case ast.Assign(value=ast.Constant(value=str(name))), ast.Expr(value=ast.Constant(value=str(meaning))):
                meanings[name] = " ".join(meaning.split())
    return meanings


def main() -> int:
    """Writes the page and the table."""
    PAGE.write_text(render(), encoding="utf-8")
    README.write_text(render_readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
