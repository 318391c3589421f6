import json
from collections.abc import Callable
from pathlib import Path

import pytest

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import CustomizerError, ExitCode, Reason
from customizer_contract.result import MESSAGE_LIMIT, Problem, Result, TrainingFacts
from customizer_trainer import outcome

EMPTY = Result(command="train")


def fail(error: Exception) -> Callable[[], Result]:
    def command() -> Result:
        raise error

    return command


def told(path: Path) -> Result:
    return Result.model_validate_json(path.read_text())


def test_a_command_that_ends_well_reports_what_it_did(tmp_path: Path) -> None:
    result = Result(command="train", training=TrainingFacts(step=3, total_steps=3))
    assert outcome.run(EMPTY, lambda: result, tmp_path / "m") is ExitCode.DONE
    assert told(tmp_path / "m") == result


@pytest.mark.parametrize("reason", Reason)
def test_an_error_of_the_catalogue_gives_its_exit_code_its_place_and_what_to_change(
    tmp_path: Path, reason: Reason
) -> None:
    error = CustomizerError(reason, "It is so.", file="a.jsonl", line=7, field="prompt")
    assert outcome.run(EMPTY, fail(error), tmp_path / "m") is CATALOGUE[reason].exit_code
    problem = told(tmp_path / "m").error
    assert problem == Problem(
        reason=reason, message=f"It is so. {CATALOGUE[reason].remedy}", file="a.jsonl", line=7, field="prompt"
    )


def test_errors_of_the_catalogue_leave_no_stack_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome.run(EMPTY, fail(CustomizerError(Reason.DATASET_EMPTY, "None.")), tmp_path / "m")
    assert [record.exc_info for record in caplog.records] == [None]


def test_anything_else_is_a_crash_with_its_last_line_and_a_stack_trace_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert outcome.run(EMPTY, fail(KeyError("x")), tmp_path / "m") is ExitCode.CRASHED
    assert told(tmp_path / "m").error == Problem(reason=Reason.CRASHED, message="KeyError: 'x' Read the pod's log.")
    assert caplog.records[0].exc_info


def test_a_full_disk_is_of_the_catalogue_whatever_was_being_done(tmp_path: Path) -> None:
    def write() -> Result:
        with Path("/dev/full").open("w") as disk:
            disk.write("what does not fit")
        return EMPTY

    assert outcome.run(EMPTY, write, tmp_path / "m") is CATALOGUE[Reason.DISK_FULL].exit_code
    error = told(tmp_path / "m").error
    assert error is not None
    assert error.reason is Reason.DISK_FULL


def test_a_failed_attempt_reports_what_it_reached(tmp_path: Path) -> None:
    result = Result(
        command="train",
        error=Problem(reason=Reason.PREEMPTED, message="m"),
        training=TrainingFacts(step=3, total_steps=9, checkpoint_step=3),
    )
    assert outcome.run(EMPTY, fail(outcome.CommandFailedError(result)), tmp_path / "m") is ExitCode.PREEMPTED
    assert told(tmp_path / "m") == result


LONG = {
    "warnings go first": Result(command="preflight", warnings=["w" * 1000] * 9),
    "a long message is cut": Result(
        command="train",
        error=Problem(reason=Reason.CRASHED, message="ä" * 9000),
        training=TrainingFacts(step=1, total_steps=2),
    ),
    "quotes count twice": Result(command="train", error=Problem(reason=Reason.CRASHED, message='"' * 9000)),
    "a long place": Result(
        command="train", error=Problem(reason=Reason.DATASET_INVALID, message="m", field="f" * 9000)
    ),
}


@pytest.mark.parametrize("result", LONG.values(), ids=LONG.keys())
def test_a_message_always_fits_and_is_valid(result: Result) -> None:
    text = outcome.fit(result)
    assert len(text.encode()) <= MESSAGE_LIMIT
    fitted = Result.model_validate_json(text)
    assert (fitted.error.reason if fitted.error else None) == (result.error.reason if result.error else None)
    assert fitted.training == result.training
    assert json.loads(text)["command"] == result.command


@pytest.mark.parametrize("words", ["word " * 2000, "ä" * 9000], ids=["words", "letters"])
def test_what_to_do_is_never_cut(words: str, tmp_path: Path) -> None:
    outcome.run(EMPTY, fail(CustomizerError(Reason.CRASHED, words)), tmp_path / "m")
    error = told(tmp_path / "m").error
    assert error is not None
    assert error.message.startswith(words[:100])
    assert error.message.endswith(f"… {CATALOGUE[Reason.CRASHED].remedy}")
