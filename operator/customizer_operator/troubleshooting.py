"""operator/TROUBLESHOOTING.md: every reason that a condition or an attempt can name, from where it is defined.

`python -m customizer_operator.troubleshooting` writes the page.
"""

import ast
import inspect
import sys
from enum import StrEnum
from pathlib import Path

from customizer_contract.errors import CATALOGUE
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingReason

PAGE = Path("operator/TROUBLESHOOTING.md")
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
            *_list_reasons(ConditionReason),
            "",
            "## Reasons of a ModelDeployment's conditions",
            "",
            *_list_reasons(ServingReason),
            "",
        ]
    )


def _list_reasons(reasons: type[StrEnum]) -> list[str]:
    """Returns a table of an enumeration whose members are documented by the string below them."""
    [definition] = ast.parse(inspect.getsource(reasons)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{reasons} is not a class")
    rows = ["| reason | meaning |", "|---|---|"]
    for member, text in zip(definition.body, definition.body[1:], strict=False):
        match member, text:
            case ast.Assign(value=ast.Constant(value=str(name))), ast.Expr(value=ast.Constant(value=str(meaning))):
                rows.append(f"| `{name}` | {' '.join(meaning.split())} |")
    return rows


def main() -> int:
    """Writes the page."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
