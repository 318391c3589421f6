"""Answers to what decisions ask: what only pods can tell is left open, and asked apart."""

import threading
from collections import Counter

import pytest

from customizer_operator.answers import Answers
from customizer_operator.api.base import Object
from customizer_operator.apiserver import ApiServer
from customizer_operator.plan.plan import POD, Exists, HttpGet
from customizer_operator.pod_client import PodClient

EXISTS = Exists(POD, "team", "a")


class Api(ApiServer):
    """Knows one object, or none."""

    def __init__(self, found: Object | None = None) -> None:
        """Connects to nothing."""
        self.found = found

    def find(self, path: str, query: dict[str, str] | None = None) -> Object | None:
        """Returns what there is, whatever the path."""
        return self.found


class Pods(PodClient):
    """Pods that all answer when so many are being asked at the same time."""

    def __init__(self, together: int = 1) -> None:
        self.asked: Counter[str] = Counter()
        self._barrier = threading.Barrier(together, timeout=30)

    def get(self, url: str) -> object:
        """Answers with the address."""
        self.asked[url] += 1
        self._barrier.wait()
        return url


async def test_what_only_a_pod_can_tell_is_left_open_and_then_remembered() -> None:
    pods = Pods()
    answers, question = Answers(Api(), pods), HttpGet("http://pod/progress", 10)
    assert answers.answer([question, EXISTS]) == {EXISTS: None}
    assert await answers.ask_pods([question]) == {question: question.url}
    assert answers.answer([question, EXISTS]) == {EXISTS: None, question: question.url}
    assert pods.asked.total() == 1


async def test_an_answer_of_a_pod_serves_no_longer_than_the_question_allows() -> None:
    answers, question = Answers(Api(), Pods()), HttpGet("http://pod/progress", max_age_seconds=0)
    await answers.ask_pods([question])
    assert answers.answer([question]) == {}


@pytest.mark.parametrize("count", [2, 20])
async def test_pods_are_asked_at_the_same_time(count: int) -> None:
    questions = [HttpGet(f"http://pod-{number}/progress") for number in range(count)]
    found = await Answers(Api(), Pods(together=count)).ask_pods(questions)
    assert list(found) == questions


@pytest.mark.parametrize(
    ("max_age", "before", "after", "told"),
    [
        pytest.param(10, {"a": 1}, None, {"a": 1}, id="what was found is there for a while"),
        pytest.param(10, None, {"a": 1}, {"a": 1}, id="what was missing is asked for again"),
        pytest.param(0, {"a": 1}, None, None, id="by default nothing is taken to be there"),
    ],
)
def test_an_object_that_was_found_is_remembered_only_where_that_is_wanted(
    max_age: float, before: Object | None, after: Object | None, told: Object | None
) -> None:
    api = Api(before)
    answers, question = Answers(api, Pods()), Exists(POD, "team", "a", max_age_seconds=max_age)
    assert answers.answer([question]) == {question: before}
    api.found = after
    assert answers.answer([question]) == {question: told}
