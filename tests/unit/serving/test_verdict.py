"""Whether a canary is good enough."""

from datetime import UTC, datetime
from typing import Any

import pytest

from customizer_operator.api.model_evaluation import EvaluationStatus, Rollout
from customizer_operator.plan.serving_verdict import judge


def build_score(score: float, metric: str = "ExactMatch", digest: str | None = "a" * 64) -> EvaluationStatus:
    return EvaluationStatus.model_validate(
        {
            "score": score,
            "metric": metric,
            "samples": 20,
            "manifestDigest": digest,
            "evaluatedAt": datetime(2026, 1, 1, tzinfo=UTC),
            "question": "q",
        }
    )


@pytest.mark.parametrize(
    ("rollout", "metric", "score", "previous", "outcome"),
    [
        pytest.param({}, "ExactMatch", 0.5, None, None, id="the served version must be asked"),
        pytest.param({}, "ExactMatch", 0.5, 0.5, "CanaryPromoted", id="as good as the served one"),
        pytest.param({}, "Contains", 0.5, 0.51, "WorseThanPrevious", id="worse than the served one"),
        pytest.param({"minimumScore": 0.6}, "ExactMatch", 0.5, None, "ScoreTooLow", id="below the bound: none asked"),
        pytest.param({"minimumScore": 0.6}, "ExactMatch", 0.6, None, None, id="the bound is not all"),
        pytest.param(
            {"minimumScore": 0.6, "compareWith": "None"},
            "ExactMatch",
            0.6,
            None,
            "CanaryPromoted",
            id="the bound alone",
        ),
    ],
)
def test_a_canary_is(rollout: Any, metric: str, score: float, previous: float | None, outcome: str | None) -> None:
    served = None if previous is None else build_score(previous, metric, digest=None)
    verdict = judge(Rollout.model_validate({"strategy": "Canary", **rollout}), build_score(score, metric), served)
    assert (verdict.reason if verdict else None) == outcome
    if verdict is not None:
        assert verdict.outcome == ("Promoted" if outcome == "CanaryPromoted" else "RolledBack")
        assert "Artifact aaaaaaaaaaaa scores" in verdict.message
