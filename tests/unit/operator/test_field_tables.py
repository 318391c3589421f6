"""The tables of fields in the pages."""

from itertools import chain
from pathlib import Path

import pytest

from customizer_operator.field_tables import PAGES, render

FOLDER = Path(__file__).parents[3]
TABLES = [
    page for page in chain(*((FOLDER / name).glob("*.md") for name in PAGES)) if "<!-- fields " in page.read_text()
]


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_a_page_lists_the_fields_that_there_are(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == render(page.read_text(encoding="utf-8")), "run `make crds`"


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("spec.runtime.*", "| `lora` | object |  | Room for spec.adapters."),
        ("spec.service.*", "| `port` | integer, at least 1, at most 65535 | `8000` |"),
        ("spec.*", '| `updateStrategy` | object | `{"maxSurge": 1, "maxUnavailable": 0}` |'),
        ("spec.adapters[].*", "| `customizationJobRef` | object |  | What a CustomizationJob publishes."),
        ("spec.adapters[]", "| `customizationJobRef.name` | string |"),
    ],
)
def test_a_table_may_have_the_fields_of_an_object_alone_or_of_a_list_s_entries(path: str, row: str) -> None:
    lines = render(f"<!-- fields modeldeployments {path} -->\n<!-- end of fields -->\n").splitlines()
    assert any(line.startswith(row) for line in lines)


def test_a_table_says_type_bounds_default_and_meaning() -> None:
    page = (
        "Before.\n<!-- fields customizationjobs spec.unsloth.training.lora -->\nold\n<!-- end of fields -->\nAfter.\n"
    )
    lines = render(page).splitlines()
    assert (lines[0], lines[-1], lines[-2]) == ("Before.", "After.", "<!-- end of fields -->")
    assert "old" not in lines
    assert any(line.startswith("| `rank` | integer, at least 1, at most 256 | `16` | Rank of the") for line in lines)
    assert any(line.startswith("| `dropout` | number, at least 0, less than 1 | `0.0` |") for line in lines)
    assert any(line.startswith("| `bias` | `none`, `all`, `lora_only` | `none` |") for line in lines)
    assert any(line.startswith("| `useDora` | boolean | `false` |") for line in lines)
