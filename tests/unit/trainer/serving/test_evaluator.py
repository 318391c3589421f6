"""Which samples a server is asked, how its answers are marked, and what stands against a score."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.serving.evaluator import Evaluator, evaluate
from customizer_trainer.serving.questions import read_questions
from customizer_trainer.storage.s3 import S3
from tests.unit.trainer.serving.vllm import Vllm

PATIENCE = 30.0
PAIRS = [{"prompt": "capital", "completion": " Paris"}, {"prompt": "river", "completion": " Seine"}]


def build(**parts: Any) -> EvaluationInput:
    """Builds what is asked; members replace the defaults."""
    asked = {"occasion": "one", "model": "base", "uri": "s3://demo/data", "metric": "ExactMatch"}
    return EvaluationInput.model_validate({**asked, "maxSamples": 10, "maxTokens": 4, "timeoutSeconds": 20, **parts})


class Store:
    """A bucket's folder of files, as text."""

    def __init__(self, **files: Iterable[dict[str, Any]]) -> None:
        self.files = {f"{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows) for name, rows in files.items()}

    def download(
        self, uri: str, folder: Path, *, missing: Reason, select: Callable[[Iterable[str]], Iterable[str]]
    ) -> list[Path]:
        chosen = list(select(sorted(self.files)))
        if not chosen:
            raise CustomizerError(missing, f"{uri}: nothing there that could be used.")
        for name in chosen:
            (folder / name).write_text(self.files[name])
        return [folder / name for name in chosen]


def store(**files: Iterable[dict[str, Any]]) -> S3:
    return cast("S3", Store(**files))


@pytest.fixture
def server() -> Iterator[Vllm]:
    """A server that says Paris, whatever it is asked."""
    vllm = Vllm()
    yield vllm
    vllm.close()


def no_tokenizer(name: str) -> Path:
    raise AssertionError(f"the tokenizer of {name} is asked for")


def ask(server: Vllm, s3: S3, **parts: Any) -> EvaluationReport:
    return evaluate(server.port, s3, no_tokenizer, build(**parts), threading.Event())


def test_the_score_is_the_share_of_right_answers(server: Vllm) -> None:
    report = ask(server, store(held_out=PAIRS))
    assert (report.score, report.samples, report.refused, report.reason) == (0.5, 2, 0, None)
    assert report.question == build().digest


@pytest.mark.parametrize(
    ("metric", "says", "score"),
    [
        pytest.param("ExactMatch", " Paris\n", 1.0, id="blanks around an answer do not count"),
        pytest.param("ExactMatch", "Paris, of course", 0.0, id="an exact answer says nothing else"),
        pytest.param("Contains", "It is Paris, of course", 1.0, id="the expected answer may stand in another"),
        pytest.param("Contains", "paris", 0.0, id="letters count as they are"),
    ],
)
def test_an_answer_is_right(server: Vllm, metric: str, says: str, score: float) -> None:
    server.says = says
    assert ask(server, store(held_out=PAIRS[:1]), metric=metric).score == score


def test_a_conversation_is_asked_up_to_the_last_answer(server: Vllm) -> None:
    turns = [("user", "a"), ("assistant", "no"), ("user", "b"), ("assistant", "Paris"), ("user", "thanks")]
    call = {"type": "function", "function": {"name": "look_up", "arguments": {}}}
    records = [
        {"messages": [{"role": role, "content": content} for role, content in turns]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]}]},
    ]
    server.says, server.answers = "else", {"b": "Paris"}
    report = ask(server, store(held_out=records))
    assert (report.score, report.samples) == (1.0, 1)


def test_a_bounded_number_is_asked_and_always_the_same(tmp_path: Path) -> None:
    pairs = [{"prompt": str(number), "completion": "x"} for number in range(500)]
    first, again = (read_questions(build(maxSamples=20), store(held_out=pairs), tmp_path) for _ in range(2))
    assert first == again
    numbers = [int(question.prompt) for question in first.samples if isinstance(question, Pair)]
    assert len(set(numbers)) == 20
    assert max(numbers) > 250 > min(numbers)
    assert read_questions(build(), store(held_out=pairs[:9]), tmp_path).digest != first.digest


def test_of_a_folder_the_validation_files_are_asked(server: Vllm) -> None:
    assert ask(server, store(train=PAIRS, validation=PAIRS[:1])).samples == 1
    report = ask(server, store())
    assert (report.score, report.reason) == (None, Reason.DATASET_NOT_FOUND)


@pytest.mark.parametrize(
    ("records", "reason", "words"),
    [
        ([{"prompt": "a"}], Reason.DATASET_INVALID, "held_out.jsonl, line 1, field completion"),
        ([{"text": "a"}], Reason.DATASET_NOT_FOUND, "no record there has an answer in words"),
    ],
)
def test_data_that_cannot_be_asked_are_told(server: Vllm, records: Any, reason: Reason, words: str) -> None:
    report = ask(server, store(held_out=records))
    assert (report.score, report.reason) == (None, reason)
    assert words in (report.message or "")


def test_what_a_server_does_not_take_is_wrong_and_told(server: Vllm) -> None:
    server.limit = 6
    report = ask(server, store(held_out=PAIRS))
    assert (report.score, report.refused, report.samples) == (0.0, 1, 2)
    assert "1 of 2 samples: 400" in (report.message or "")


def test_a_server_that_does_not_answer_gets_no_score(server: Vllm) -> None:
    server.close()
    report = ask(server, store(held_out=PAIRS))
    assert (report.score, report.reason) == (None, Reason.EVALUATION_FAILED)


def settle(evaluator: Evaluator, wanted: EvaluationInput) -> EvaluationReport:
    """Steps until the report is there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        report = evaluator.step(wanted, may_ask=True)
        if report is not None:
            return report
        time.sleep(0.01)
    raise AssertionError("no report")


def test_each_occasion_is_asked_once_and_what_came_to_no_score_again(server: Vllm) -> None:
    now = [0.0]
    held_out = Store(training=PAIRS)
    evaluator = Evaluator(partial(evaluate, server.port, cast("S3", held_out), no_tokenizer), lambda: now[0])
    assert evaluator.step(build(), may_ask=False) is None
    assert evaluator.step(None, may_ask=True) is None
    assert evaluator.is_at_rest
    held_out.files = {}
    assert settle(evaluator, build()).score is None
    assert not evaluator.is_at_rest
    held_out.files = Store(training=PAIRS).files
    now[0] += 100
    while (report := evaluator.step(build(), may_ask=True)) is None or report.score is None:
        time.sleep(0.01)
    assert report.score == 0.5
    server.says = "Rome"
    now[0] += 100
    assert evaluator.step(build(), may_ask=True) == report
    assert evaluator.is_at_rest
    assert settle(evaluator, build(occasion="two")).score == 0.0
