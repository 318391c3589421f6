"""Asks a server as its users do, and tells a question that it does not take from a server that does not answer."""

import json
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput
from customizer_trainer.serving.engines import ask

_QUOTED = 200


class RefusedError(Exception):
    """The server does not take a question: too long, no chat template."""


def infer(port: int, evaluation: EvaluationInput, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Asks the model of an evaluation. Raises EvaluationFailed if the server does not answer, and RefusedError."""
    try:
        status, answer = ask(port, path, {"model": evaluation.model, **body}, evaluation.timeout_seconds)
        if status == HTTPStatus.OK:
            found: dict[str, Any] = json.loads(answer)
            return found
    except (OSError, HTTPException, ValueError) as error:
        message = f"No answer of the server within {evaluation.timeout_seconds} s: {error}."
        raise CustomizerError(Reason.EVALUATION_FAILED, message) from error
    said = f"{status}: {answer[:_QUOTED].decode(errors='replace')}"
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise RefusedError(said)
    raise CustomizerError(Reason.EVALUATION_FAILED, f"The server answers {said}")


def not_understood(error: Exception) -> CustomizerError:
    """Says that an answer has not the form that was asked for."""
    return CustomizerError(Reason.EVALUATION_FAILED, f"The server answers in a way that is not understood: {error!r}.")
