"""The page that explains every reason."""

from pathlib import Path

from customizer_contract.errors import Reason
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.troubleshooting import PAGE, render


def test_the_page_is_as_the_catalogue_and_the_reasons_are() -> None:
    page = Path(__file__).parents[3] / PAGE
    assert page.read_text(encoding="utf-8") == render(), "run `make crds`"


def test_no_reason_is_without_an_explanation() -> None:
    rows = [line.split("|") for line in render().splitlines() if line.startswith("| `")]
    explained = {cells[1].strip(" `"): cells[2].strip() for cells in rows}
    assert {*Reason, *ConditionReason, *ServingReason} <= set(explained)
    assert all(explained.values())
