"""The trainer's command line: what the containers of a job and of a deployment run."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from customizer_contract.adapters import SIDECAR_PORT
from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.paths import JOB_FILE, MODEL_STORE, SERVING_FILE, TERMINATION_MESSAGE, WISH_FILE, WORKSPACE
from customizer_contract.progress import PROGRESS_PORT
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_trainer import outcome
from customizer_trainer.workspace import Workspace

File = TypeVar("File", bound=Model)


def main() -> int:
    """Runs the command that the arguments name; returns the exit code."""
    arguments = _parse()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
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
            return lambda: run(_read(arguments.job, Job), Workspace(arguments.workspace))
        case "train":
            return lambda: run(
                _read(arguments.job, Job),
                Workspace(arguments.workspace),
                arguments.attempt,
                os.environ,
                arguments.progress_port,
            )
        case "verify":
            return lambda: run(_read(arguments.serving, Serving))
        case "stage":
            return lambda: run(_read(arguments.serving, Serving), arguments.model_store)
        case _:
            return lambda: run(_read(arguments.serving, Serving), arguments.model_store, arguments.wish, arguments.port)


def _read(path: Path, kind: type[File]) -> File:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CustomizerError(Reason.JOB_FILE_INVALID, f"{path}: {error.strerror}.", file=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{path}: {field}: {first['msg']}."
        raise CustomizerError(Reason.JOB_FILE_INVALID, message, file=str(path), field=field) from error


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # `train` installs its own handler while there is something to save.
    raise CustomizerError(Reason.PREEMPTED, "Told to stop before there was anything to save.")


if __name__ == "__main__":
    sys.exit(main())
