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
    """What a sample adds to the score: a sum, and what it is divided by."""

    total: float
    weight: int = 1
    refusal: str | None = None
    """What the server said if it did not take the question."""


class _RefusedError(Exception):
    """The server does not take a question: too long, no chat template."""


def mark(port: int, evaluation: EvaluationInput, question: Question) -> Mark:
    """Asks one question. Raises EvaluationFailed if the server does not answer, or a loss cannot be told."""
    server = _Server(port, evaluation)
    try:
        if evaluation.metric == "Loss":
            return server.measure_loss(question)
        expected, answer = find_expected(question).strip(), server.answer(question).strip()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        message = f"The server answers in a way that is not understood: {error!r}."
        raise CustomizerError(Reason.EVALUATION_FAILED, message) from error
    except _RefusedError as refusal:
        if evaluation.metric == "Loss":
            message = f"The server does not take a sample: {refusal}"
            raise CustomizerError(Reason.EVALUATION_FAILED, message) from refusal
        return Mark(0.0, refusal=str(refusal))
    is_right = answer == expected if evaluation.metric == "ExactMatch" else expected in answer
    return Mark(float(is_right))


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
            choice = self._post("/v1/chat/completions", body | _chat(question, answered=False))["choices"][0]
            return str(choice["message"]["content"] or "")
        return str(self._post("/v1/completions", body | {"prompt": question.prompt})["choices"][0]["text"])

    def measure_loss(self, question: Question) -> Mark:
        """Sums up the loss of the expected answer's tokens; they are told apart as they were in the training."""
        if isinstance(question, Conversation):
            known = self._tokenize(_chat(question, answered=False) | {"add_generation_prompt": True})
            tokens = self._tokenize(_chat(question, answered=True) | {"add_generation_prompt": False})
            if tokens[: len(known)] != known:
                message = "The chat template renders a conversation differently once it is answered: no loss is told."
                raise CustomizerError(Reason.EVALUATION_FAILED, message)
        else:
            known = self._tokenize({"prompt": question.prompt})
            tokens = known + self._tokenize({"prompt": question.completion, "add_special_tokens": False})
        body = {"prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        told = self._post("/v1/completions", body)["choices"][0]["prompt_logprobs"]
        answer = range(max(1, len(known)), len(tokens))
        return Mark(-sum(float(told[at][str(tokens[at])]["logprob"]) for at in answer), len(answer))

    def _tokenize(self, body: dict[str, Any]) -> list[int]:
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

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


def _chat(question: Conversation, *, answered: bool) -> dict[str, Any]:
    messages = question.messages if answered else question.messages[:-1]
    tools = {"tools": question.tools} if question.tools else {}
    return {"messages": [_message(message) for message in messages], **tools}


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
