"""The page that explains every reason."""

from pathlib import Path

import pytest

from customizer_contract.errors import Reason
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.remedies import JOB_REMEDIES, SERVING_REMEDIES
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.troubleshooting import PAGE, README, render, render_readme
from tests.unit.operator.test_remedies import CALM

ROOT = Path(__file__).parents[3]
CALM_SERVING = {
    ServingReason.AS_EXPECTED, ServingReason.VERIFYING, ServingReason.VERIFIED, ServingReason.NOT_VERIFIED,
    ServingReason.SERVER_STARTING, ServingReason.REPLICAS_ANSWER, ServingReason.ROLLING_OUT,
    ServingReason.ADAPTERS_ANSWER, ServingReason.PROBING, ServingReason.ADAPTERS_LOADING, ServingReason.EVALUATED,
    ServingReason.EVALUATING, ServingReason.CANARY_STARTING, ServingReason.CANARY_PROMOTED, ServingReason.STOPPED,
}  # fmt: skip
"""Reasons that are no trouble."""


def test_the_page_is_as_the_catalogue_and_the_reasons_are() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(), "run `make crds`"


def test_the_readmes_table_is_as_the_catalogue_and_the_reasons_are() -> None:
    readme = (ROOT / README).read_text(encoding="utf-8")
    assert readme == render_readme(readme), "run `make crds`"
    assert "| `QuotaExceeded` | A ResourceQuota" in readme
    with pytest.raises(ValueError, match="no lines"):
        render_readme("# A page without a table")


def test_no_reason_is_without_an_explanation() -> None:
    rows = [line.split("|") for line in render().splitlines() if line.startswith("| `")]
    explained = {cells[1].strip(" `"): cells[2].strip() for cells in rows}
    assert {*Reason, *ConditionReason, *ServingReason} <= set(explained)
    assert all(explained.values())


def test_every_trouble_has_a_remedy_and_nothing_else_has() -> None:
    assert set(JOB_REMEDIES) == set(ConditionReason) - CALM
    assert set(SERVING_REMEDIES) == set(ServingReason) - CALM_SERVING
