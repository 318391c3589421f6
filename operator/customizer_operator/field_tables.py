"""Tables of all fields, from the CRDs, for the pages of this repository.

`python -m customizer_operator.field_tables` writes them between the marks that a page holds:
`<!-- fields customizationjobs spec.unsloth -->` and `<!-- end of fields -->`. A table has the fields of fields, too;
where a path ends in `.*`, those of that object alone. `[]` means the entries of a list.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from customizer_operator.api.kinds import KINDS
from customizer_operator.crds import build_crd

PAGES = ("operator", "trainer")
"""Folders whose pages are looked through."""
_MARKS = re.compile(r"(<!-- fields (\S+) (\S+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)
_ALONE, _EACH = ".*", "[]"
_BOUNDS = {"minimum": "at least {}", "maximum": "at most {}", "maxItems": "at most {} items"}
_EXCLUSIVE = {"minimum": ("exclusiveMinimum", "more than {}"), "maximum": ("exclusiveMaximum", "less than {}")}


def render(text: str) -> str:
    """Returns a page with its tables as the CRDs have them."""
    return _MARKS.sub(lambda match: f"{match[1]}{_table(match[2], match[3])}{match[4]}", text)


def _table(plural: str, path: str) -> str:
    kind = next(kind for kind in KINDS if kind.names.plural == plural)
    schema = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path.removesuffix(_ALONE).split("."):
        schema = schema["properties"][name.removesuffix(_EACH)]
        schema = schema["items"] if name.endswith(_EACH) else schema
    fields = schema["properties"].items() if path.endswith(_ALONE) else _leaves(schema)
    rows = [f"| `{name}` | {_kind(field)} | {_default(field)} | {_meaning(field)} |" for name, field in fields]
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _meaning(field: dict[str, Any]) -> str:
    return " ".join(field["description"].split()).replace("|", "\\|")


def _kind(leaf: dict[str, Any]) -> str:
    if "enum" in leaf:
        return ", ".join(f"`{value}`" for value in leaf["enum"])
    kind = "text" if leaf.get("x-kubernetes-int-or-string") else leaf["type"]
    if kind == "array":
        kind = f"list of {_kind(leaf['items'])}"
    bounds = []
    for key, words in _BOUNDS.items():
        if key in leaf:
            flag, exclusive = _EXCLUSIVE.get(key, ("", words))
            bounds.append((exclusive if leaf.get(flag) else words).format(leaf[key]))
    return ", ".join([kind, *bounds])


def _default(leaf: dict[str, Any]) -> str:
    value = leaf.get("default")
    if value is None:
        return ""
    if isinstance(value, list):
        return f"`{', '.join(map(str, value))}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def main() -> int:
    """Writes the tables of all pages."""
    for folder in PAGES:
        for page in sorted(Path(folder).glob("*.md")):
            page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
