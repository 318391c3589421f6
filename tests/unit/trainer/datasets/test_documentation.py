"""DATASETS.md shows records that are accepted, and names every problem that the code can report."""

import json
import re
from pathlib import Path

from customizer_contract.result import DatasetFacts, SplitFacts
from customizer_trainer.datasets import files
from customizer_trainer.datasets.compression import COMPRESSIONS
from customizer_trainer.datasets.formats import Parser, detect
from customizer_trainer.datasets.problems import Defect
from customizer_trainer.datasets.prompts import Columns

PAGE = (Path(__file__).parents[4] / "trainer" / "DATASETS.md").read_text()
SOURCES = Path(files.__file__).parent


def test_every_record_of_the_page_is_accepted() -> None:
    records = [
        json.loads(line) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S) for line in block.splitlines()
    ]
    found = [detect(record, Columns()) for record in records]
    assert {name for name in found if isinstance(name, str)} == {"prompt-completion", "chat", "text"}
    for record, name in zip(records, found, strict=True):
        assert not isinstance(name, Defect)
        assert not isinstance(Parser(Columns(), name).parse(record), list), record


def test_every_kind_of_problem_has_a_remedy() -> None:
    kinds = {
        kind for path in SOURCES.glob("*.py") for kind in re.findall(r'Defect\(\s*"([a-z0-9-]+)"', path.read_text())
    }
    section = PAGE.split("### Kinds of problems")[1].split("###")[0]
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.M))
    assert documented == kinds


def test_every_fact_and_compression_is_named() -> None:
    of_a_split = {field.alias for field in SplitFacts.model_fields.values()}
    of_all = {
        field.alias for name, field in DatasetFacts.model_fields.items() if name not in ("training", "validation")
    }
    for name in {*of_a_split, *of_all, *COMPRESSIONS}:
        if name != "format":
            assert f"`{name}`" in PAGE or f".{name}`" in PAGE, name
