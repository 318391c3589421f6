"""How likely a server finds the expected answers: asked of the tokens that a training would learn, and of no others."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationReport
from customizer_trainer.commands.sidecar import find_tokenizer
from customizer_trainer.datasets.tokenizing import Tokenizer
from customizer_trainer.serving.evaluator import evaluate
from tests.unit.trainer.serving.test_evaluator import PAIRS, Store, build, store
from tests.unit.trainer.serving.vllm import Vllm


@pytest.fixture
def server() -> Iterator[Vllm]:
    """A server that finds a token as likely as its number says."""
    vllm = Vllm()
    yield vllm
    vllm.close()


def ask(server: Vllm, folder: Path, records: Store) -> EvaluationReport:
    asked = build(metric="Loss")
    return evaluate(server.port, records, lambda name: folder, asked, threading.Event())  # type: ignore[arg-type]


def find_loss(server: Vllm, tokens: list[int]) -> float:
    return -sum(server.log_probability(token) for token in tokens)


def test_the_loss_is_the_mean_over_the_tokens_of_completions_and_the_end(
    server: Vllm, tokenizer: Tokenizer, tokenizer_folder: Path
) -> None:
    report = ask(server, tokenizer_folder, store(held_out=PAIRS))
    learned = [
        [*tokenizer(pair["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for pair in PAIRS
    ]
    loss = sum(find_loss(server, tokens) for tokens in learned) / sum(map(len, learned))
    assert report.loss == pytest.approx(loss)
    assert report.score == pytest.approx(math.exp(-loss))
    assert (report.samples, report.refused, report.reason) == (2, 0, None)


def test_of_a_conversation_what_the_assistant_says_counts(
    server: Vllm, tokenizer: Tokenizer, tokenizer_folder: Path
) -> None:
    turns = [("system", "Be brief."), ("user", "Peru?"), ("assistant", "Lima"), ("user", "thanks")]
    record = {"messages": [{"role": role, "content": content} for role, content in turns]}
    report = ask(server, tokenizer_folder, store(held_out=[record]))
    learned = tokenizer("Lima<|im_end|>", add_special_tokens=False)["input_ids"]
    assert report.loss == pytest.approx(find_loss(server, learned) / len(learned))


def test_what_a_server_does_not_take_is_left_out_and_told(server: Vllm, tokenizer_folder: Path) -> None:
    whole = ask(server, tokenizer_folder, store(held_out=PAIRS[:1]))
    long = {"prompt": "so very long " * 50, "completion": "no"}
    server.limit = 100
    report = ask(server, tokenizer_folder, store(held_out=[*PAIRS[:1], long]))
    assert (report.loss, report.samples, report.refused) == (whole.loss, 2, 1)
    assert "1 of 2 samples: 400" in (report.message or "")
    server.limit = 1
    report = ask(server, tokenizer_folder, store(held_out=PAIRS))
    assert (report.score, report.reason) == (None, Reason.EVALUATION_FAILED)
    assert "took none of 2 samples: 400" in (report.message or "")


def test_a_tokenizer_that_cannot_be_used_is_told(server: Vllm, tmp_path: Path) -> None:
    report = ask(server, tmp_path, store(held_out=PAIRS))
    assert (report.score, report.reason) == (None, Reason.TOKENIZER_INVALID)


def test_the_tokenizer_is_that_of_what_was_staged(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(CustomizerError, match="no tokenizer was staged for tickets") as refused:
        find_tokenizer(tmp_path, "tickets")
    assert refused.value.reason == Reason.TOKENIZER_INVALID
    (model / "tokenizer.json").touch()
    assert find_tokenizer(tmp_path, "tickets") == model
