"""How good an answer of a server is, by each of the metrics."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.serving.engines import ask
from customizer_trainer.serving.questions import Question

_QUOTED = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """What came of a sample."""

    is_right: bool
    refusal: str | None = None
    """What the server said if it did not take the question."""


class _RefusedError(Exception):
    """The server does not take a question: too long, no chat template."""


def mark(port: int, evaluation: EvaluationInput, question: Question) -> Mark:
    """Asks one question. Raises EvaluationFailed if the server does not answer."""
    server = _Server(port, evaluation)
    try:
        expected, answer = find_expected(question).strip(), server.answer(question).strip()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        message = f"The server answers in a way that is not understood: {error!r}."
        raise CustomizerError(Reason.EVALUATION_FAILED, message) from error
    except _RefusedError as refusal:
        return Mark(is_right=False, refusal=str(refusal))
    return Mark(answer == expected if evaluation.metric == "ExactMatch" else expected in answer)


def find_expected(question: Question) -> str:
    """Returns the answer that a sample holds."""
    if isinstance(question, Conversation):
        return str(question.messages[-1]["content"])
    return question.completion


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    evaluation: EvaluationInput

    def answer(self, question: Question) -> str:
        body = {"max_tokens": self.evaluation.max_tokens, "temperature": 0}
        if isinstance(question, Conversation):
            choice = self._post("/v1/chat/completions", body | _chat(question))["choices"][0]
            return str(choice["message"]["content"] or "")
        return str(self._post("/v1/completions", body | {"prompt": question.prompt})["choices"][0]["text"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            body = {"model": self.evaluation.model, **body}
            status, answer = ask(self.port, path, body, self.evaluation.timeout_seconds)
            if status == HTTPStatus.OK:
                found: dict[str, Any] = json.loads(answer)
                return found
        except (OSError, HTTPException, ValueError) as error:
            seconds = self.evaluation.timeout_seconds
            message = f"No answer of the server within {seconds} s: {error}."
            raise CustomizerError(Reason.EVALUATION_FAILED, message) from error
        said = f"{status}: {answer[:_QUOTED].decode(errors='replace')}"
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _RefusedError(said)
        raise CustomizerError(Reason.EVALUATION_FAILED, f"The server answers {said}")


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
