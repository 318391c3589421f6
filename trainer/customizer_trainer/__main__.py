"""The trainer's command line: what the containers of a job and of a deployment run, and `run` for one machine."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from customizer_contract.adapters import SIDECAR_PORT
from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.paths import (
    JOB_FILE,
    MODEL_STORE,
    SERVING_FILE,
    SERVING_VARIABLE,
    TERMINATION_MESSAGE,
    WISH_FILE,
    WORKSPACE,
)
from customizer_contract.progress import PROGRESS_PORT
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_trainer import logs, outcome
from customizer_trainer.workspace import Workspace

File = TypeVar("File", bound=Model)


def main() -> int:
    """Runs the command that the arguments name; returns the exit code."""
    arguments = _parse()
    if arguments.command == "run":
        # Imported here: the pods have no use for a terminal.
        logs.configure(import_module("customizer_trainer.training.terminal").ConsoleHandler(sys.stderr, os.environ))
        signal.signal(signal.SIGINT, _interrupt)
    else:
        logs.log_as_json()
    signal.signal(signal.SIGTERM, _stop)
    empty = Result(command=arguments.command)
    return int(outcome.run(empty, _command(arguments), arguments.termination_message))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="customizer-trainer", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--termination-message", type=Path, default=Path(TERMINATION_MESSAGE), help="where to report")
    of_a_job = argparse.ArgumentParser(add_help=False, parents=[common])
    of_a_job.add_argument("--job", type=Path, default=Path(JOB_FILE), help="the job file")
    of_a_job.add_argument("--workspace", type=Path, default=Path(WORKSPACE), help="writable disk")
    of_a_deployment = argparse.ArgumentParser(add_help=False, parents=[common])
    of_a_deployment.add_argument("--serving", type=Path, default=Path(SERVING_FILE), help="the serving file")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("preflight", parents=[of_a_job], help="check model and data; needs no GPU")
    commands.add_parser("fetch", parents=[of_a_job], help="bring model, data and the newest checkpoint to this disk")
    train = commands.add_parser("train", parents=[of_a_job], help="train this node's share, and publish")
    train.add_argument("--attempt", type=int, required=True, help="number of the attempt, from 1")
    train.add_argument("--progress-port", type=int, default=PROGRESS_PORT, help="of /progress and /metrics")
    alone = commands.add_parser("run", help="preflight, fetch, train and publish on this machine")
    alone.add_argument("--job", type=Path, required=True, help="the job file, as `customizer render` writes it")
    alone.add_argument("--model", type=Path, help="a folder, in the place of the job's model")
    alone.add_argument("--teacher", type=Path, help="a folder, in the place of the teacher of a distillation")
    alone.add_argument("--training", type=Path, help="a file or folder, in the place of the job's data")
    alone.add_argument("--validation", type=Path, help="the same of the data for validation")
    alone.add_argument("--output", type=Path, help="a folder, in the place of the job's output")
    alone.add_argument("--workspace", type=Path, help="disk for what comes and goes (default: NAME.workspace)")
    alone.add_argument("--check", action="store_true", help="stop after preflight, which needs no torch")
    alone.add_argument("--result", dest="termination_message", type=Path, help="where to write the result, as JSON")
    commands.add_parser("verify", parents=[of_a_deployment], help="check artifacts and report what they are")
    stage = commands.add_parser("stage", parents=[of_a_deployment], help="bring verified weights to the server's disk")
    stage.add_argument("--model-store", type=Path, default=Path(MODEL_STORE), help="the server's disk")
    sidecar = commands.add_parser("sidecar", parents=[of_a_deployment], help="keep a server's adapters as wished")
    sidecar.add_argument("--model-store", type=Path, default=Path(MODEL_STORE), help="the server's disk")
    sidecar.add_argument("--wish", type=Path, default=Path(WISH_FILE), help="the adapters that shall be served")
    sidecar.add_argument("--port", type=int, default=SIDECAR_PORT, help="of /report and /ready")
    return parser.parse_args()


def _command(arguments: argparse.Namespace) -> Callable[[], Result]:
    # Imported when run: a command must not need what only another one has in its image.
    run = import_module(f"customizer_trainer.commands.{arguments.command}").run
    match arguments.command:
        case "preflight" | "fetch":
            return lambda: run(_read_for_pods(arguments.job), Workspace(arguments.workspace))
        case "train":
            server = import_module("customizer_trainer.training.server").ProgressServer
            return lambda: run(
                _read_for_pods(arguments.job),
                Workspace(arguments.workspace),
                arguments.attempt,
                os.environ,
                partial(server, arguments.progress_port),
            )
        case "run":
            return lambda: run(
                _read(arguments.job, Job), arguments.job.parent, arguments, os.environ, only_check=arguments.check
            )
        case "verify":
            return lambda: run(_read(arguments.serving, Serving))
        case "stage":
            return lambda: run(_read_serving(arguments.serving), arguments.model_store)
        case _:
            return lambda: run(_read(arguments.serving, Serving), arguments.model_store, arguments.wish, arguments.port)


def _read_for_pods(path: Path) -> Job:
    job = _read(path, Job)
    if job.needs_this_machine:
        raise CustomizerError(Reason.JOB_FILE_INVALID, f"{path} names paths of one machine, which only `run` takes.")
    return job


def _read_serving(path: Path) -> Serving:
    given = os.environ.get(SERVING_VARIABLE)
    return _read(path, Serving) if given is None else _parse_file(given.encode(), Path(SERVING_VARIABLE), Serving)


def _read(path: Path, kind: type[File]) -> File:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CustomizerError(Reason.JOB_FILE_INVALID, f"{path}: {error.strerror}.", file=str(path)) from error
    return _parse_file(content, path, kind)


def _parse_file(content: bytes, path: Path, kind: type[File]) -> File:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{path}: {field}: {first['msg']}."
        raise CustomizerError(Reason.JOB_FILE_INVALID, message, file=str(path), field=field) from error


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # `train` installs its own handler while there is something to save.
    raise CustomizerError(Reason.PREEMPTED, "Told to stop before there was anything to save.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    # The first Ctrl-C saves what there is to save, the second one does not wait for it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
