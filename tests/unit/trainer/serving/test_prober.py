"""When a server is asked the question of its deployment, and which answers will do."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from customizer_contract.adapters import ProbeInput, ProbeReport
from customizer_trainer.serving.prober import Prober, judge, put_question
from tests.unit.trainer.serving.vllm import Vllm

PATIENCE = 30.0


def build(**parts: Any) -> ProbeInput:
    """Builds a question; members replace the defaults."""
    asked = {"model": "base", "prompt": "The capital?", "maxTokens": 4, "timeoutSeconds": 20}
    return ProbeInput.model_validate(asked | parts)


@pytest.fixture
def server() -> Iterator[Vllm]:
    """A server that says Paris."""
    vllm = Vllm()
    yield vllm
    vllm.close()


@pytest.mark.parametrize(
    ("expected", "passed"),
    [
        ({}, True),
        ({"expectedText": "Paris"}, True),
        ({"expectedText": "paris"}, False),
        ({"expectedPattern": "(?i)^ paris"}, True),
        ({"expectedPattern": "Paris$"}, False),
    ],
)
def test_an_answer_holds_the_text_or_matches_the_pattern(expected: Any, passed: bool) -> None:
    assert judge(build(**expected), " Paris.").passed == passed


@pytest.mark.parametrize("pattern", ["[", "a{99999999999999999999}", "(" * 5000 + ")" * 5000])
def test_a_pattern_that_is_none_is_a_failure_that_names_its_field(pattern: str) -> None:
    report = judge(build(expectedPattern=pattern), "Paris")
    assert not report.passed
    assert (report.message or "").startswith("spec.probe.expectedPattern is no regular expression of Python: ")


def test_prompts_and_conversations_have_their_endpoints(server: Vllm) -> None:
    assert put_question(server.port, build()).answer == "Paris"
    messages = [{"role": "user", "content": "The capital?"}]
    assert put_question(server.port, build(prompt=None, messages=messages)).answer == "Paris"


def test_a_server_that_does_not_answer_has_not_passed(server: Vllm) -> None:
    server.close()
    report = put_question(server.port, build())
    assert not report.passed
    assert "No answer within 20 s" in (report.message or "")


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        """Tells the time."""
        return self.now


def settle(prober: Prober, probe: ProbeInput | None, state: tuple[int, str]) -> ProbeReport | None:
    """Steps until the answer is there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        report = prober.step(probe, state, may_ask=True)
        if report is not None:
            return report
        time.sleep(0.01)
    raise AssertionError("no answer")


def test_a_server_is_ready_once_it_has_passed_and_until_it_starts_anew(server: Vllm) -> None:
    clock = Clock()
    prober, probe = Prober(server.port, clock), build(expectedText="Paris")
    server.says = "Rome"
    assert settle(prober, probe, (1, "")) == ProbeReport(
        passed=False, answer="Rome", message="The answer does not hold 'Paris'."
    )
    assert not prober.has_passed
    server.says = "Paris"
    clock.now += 100
    while not prober.has_passed:
        prober.step(probe, (1, ""), may_ask=True)
    assert prober.is_at_rest
    server.says = "Rome"
    report = settle(prober, probe, (1, "another adapter"))
    assert report is not None
    assert (report.passed, prober.has_passed) == (False, True)
    prober.step(probe, (2, ""), may_ask=False)
    assert not prober.has_passed


def test_nothing_is_asked_before_the_adapters_are_there(server: Vllm) -> None:
    prober = Prober(server.port, Clock())
    assert prober.step(build(), (1, ""), may_ask=False) is None
    assert not prober.has_passed
    assert prober.step(None, (1, ""), may_ask=False) is None
    assert prober.has_passed
