"""trainer/AUTOMODEL.md: its field tables are those of the schema."""

from pathlib import Path

import pytest

from customizer_contract.automodel import Batch, Lora, Optimizer, Parallelism, Schedule, Training
from customizer_contract.base import Model
from tests.unit.serving.test_document import build_table

PAGE = Path(__file__).parents[3] / "trainer" / "AUTOMODEL.md"
TABLES: dict[str, type[Model]] = {
    "spec.automodel.training": Training,
    "spec.automodel.training.lora": Lora,
    "spec.automodel.schedule": Schedule,
    "spec.automodel.batch": Batch,
    "spec.automodel.optimizer": Optimizer,
    "spec.automodel.parallelism": Parallelism,
}


@pytest.mark.parametrize("path", TABLES)
def test_the_page_has_every_field(path: str) -> None:
    table = build_table(path, TABLES[path])
    assert table in PAGE.read_text(), f"put this into {PAGE}:\n{table}"
