"""How good an answer of a server is, by each of the metrics, and what all of them come to."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput, Metric
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.serving.inference import RefusedError, infer, not_understood
from customizer_trainer.serving.questions import Question


@dataclass(frozen=True, slots=True)
class Mark:
    """What came of a sample."""

    is_right: bool = False
    loss: float = 0.0
    """Over all of its tokens; where it was not asked for words, but how likely they are."""
    tokens: int = 0
    """Tokens that the loss is about."""
    refusal: str | None = None
    """What the server said if it did not take the question."""


def mark(port: int, evaluation: EvaluationInput, question: Question) -> Mark:
    """Asks one question. Raises EvaluationFailed if the server does not answer."""
    try:
        expected, answer = find_expected(question).strip(), _answer(port, evaluation, question).strip()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise not_understood(error) from error
    except RefusedError as refusal:
        return Mark(refusal=str(refusal))
    return Mark(is_right=answer == expected if evaluation.metric == "ExactMatch" else expected in answer)


def compute_score(metric: Metric, marks: Sequence[Mark]) -> tuple[float, float | None]:
    """Returns the score, and the loss where that is the metric. Raises EvaluationFailed without any token."""
    if metric != "Loss":
        return sum(found.is_right for found in marks) / len(marks), None
    tokens = sum(found.tokens for found in marks)
    if not tokens:
        refusal = next((found.refusal for found in marks if found.refusal), "no sample has an answer")
        raise CustomizerError(Reason.EVALUATION_FAILED, f"The server took none of {len(marks)} samples: {refusal}")
    loss = sum(found.loss for found in marks) / tokens
    return math.exp(-loss), loss


def find_expected(question: Question) -> str:
    """Returns the answer that a sample holds."""
    if isinstance(question, Conversation):
        return str(question.messages[-1]["content"])
    return question.completion


def _answer(port: int, evaluation: EvaluationInput, question: Question) -> str:
    body = {"max_tokens": evaluation.max_tokens, "temperature": 0}
    if isinstance(question, Conversation):
        choice = infer(port, evaluation, "/v1/chat/completions", body | _chat(question))["choices"][0]
        return str(choice["message"]["content"] or "")
    return str(infer(port, evaluation, "/v1/completions", body | {"prompt": question.prompt})["choices"][0]["text"])


def _chat(question: Conversation) -> dict[str, Any]:
    tools = {"tools": question.tools} if question.tools else {}
    return {"messages": [_message(message) for message in question.messages[:-1]], **tools}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Writes a message as the endpoint wants it: arguments of tool calls are JSON text there, and need an id."""
    calls = message.get("tool_calls")
    if calls is None:
        return message
    written = []
    for number, call in enumerate(calls):
        function = {**call["function"], "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)}
        written.append({"id": f"call_{number}", **call, "function": function})
    return {**message, "tool_calls": written}
