"""How a command ends: result, termination message and exit code."""

import logging
from collections.abc import Callable
from pathlib import Path

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import CustomizerError, ExitCode, Reason
from customizer_contract.result import MESSAGE_LIMIT, Problem, Result
from customizer_trainer import logs
from customizer_trainer.training.failures import classify

log = logging.getLogger(__name__)

_SHORTEST = 200


class CommandFailedError(Exception):
    """A command that failed but has facts to report; its result carries the error."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.error.message if result.error else "")
        self.result = result


def problem_of(error: CustomizerError) -> Problem:
    """Returns the error in wire form, with what to change where the message does not say it itself."""
    message = str(error)
    remedy = CATALOGUE[error.reason].remedy
    return Problem(
        reason=error.reason,
        message=f"{message} {remedy}",
        file=error.file,
        line=error.line,
        field=error.field,
        rank=error.rank,
    )


def without_secrets(result: Result) -> Result:
    """Returns the result with secrets masked in all that libraries may have worded."""
    error = result.error and result.error.model_copy(update={"message": logs.mask(result.error.message)})
    return result.model_copy(update={"error": error, "warnings": [logs.mask(warning) for warning in result.warnings]})


def conclude(result: Result, error: Exception | None) -> tuple[Result, ExitCode]:
    """Decides result and exit code, given what the command returned or raised."""
    if isinstance(error, CommandFailedError):
        result = error.result
    elif isinstance(error, CustomizerError):
        result = result.model_copy(update={"error": problem_of(error)})
    elif error is not None:
        reason, message = classify(error)
        result = result.model_copy(update={"error": problem_of(CustomizerError(reason, message))})
    code = ExitCode.DONE if result.error is None else CATALOGUE[result.error.reason].exit_code
    return result, code


def fit(result: Result, limit: int = MESSAGE_LIMIT) -> str:
    """Renders a result as JSON of at most `limit` bytes: warnings go first, then the tail of what is wrong.

    What to do about it is kept.
    """
    text = result.to_json()
    while len(text.encode()) > limit and result.warnings:
        result = result.model_copy(update={"warnings": result.warnings[:-1]})
        text = result.to_json()
    while len(text.encode()) > limit and result.error is not None:
        remedy = CATALOGUE[result.error.reason].remedy
        told = result.error.message.removesuffix(remedy).rstrip(" …")
        if len(told) <= _SHORTEST:
            break
        message = f"{told[: max(_SHORTEST, len(told) * 3 // 4)]}… {remedy}"
        result = result.model_copy(update={"error": result.error.model_copy(update={"message": message})})
        text = result.to_json()
    if len(text.encode()) > limit:
        bare = None if result.error is None else _describe_barely(result.error.reason)
        text = Result(command=result.command, error=bare, training=result.training, artifact=result.artifact).to_json()
    return text


def _describe_barely(reason: Reason) -> Problem:
    entry = CATALOGUE[reason]
    return Problem(reason=reason, message=f"{entry.meaning} {entry.remedy}")


def run(empty: Result, command: Callable[[], Result], termination_message: Path | None) -> ExitCode:
    """Runs a command to its end and writes its termination message, if asked to; returns the exit code."""
    error: Exception | None = None
    result = empty
    try:
        result = command()
    except (CustomizerError, CommandFailedError) as failure:
        error = failure
    except Exception as crash:
        log.exception("%s crashed", empty.command)
        error = crash
    result, code = conclude(result, error)
    result = without_secrets(result)
    if result.error is not None:
        log.error("%s: %s", result.error.reason, result.error.message)
    if termination_message is not None:
        termination_message.write_text(fit(result))
    return code
