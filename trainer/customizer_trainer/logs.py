"""The log: one JSON object a line (`customizer_contract.logs`), with the place in the training, and without secrets.

Libraries print and set logging up as they like; what the ranks write is read line by line and becomes entries, too.
"""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, cast

from pydantic import ValidationError

from customizer_contract.logs import LogEntry
from customizer_contract.redaction import MASK, mask_secrets

_SECRET_NAME = re.compile(
    r"(?i)(secret|token|password|passwd|credential|api_?key|private_?key)(?!.*(_file|_path|_uri)$)"
)
_SHORTEST_SECRET = 8
"""Characters; what is shorter would be masked within other words."""
_RANK = re.compile(r"^(\[rank(?P<rank>\d+)\]: ?)+")
"""Before a line of a rank, by torchrun; once more by torch itself."""
_GLOG = re.compile(r"^\[?(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d")
_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
LINE_PREFIX = "[rank${rank}]:"
"""What torchrun shall write before each line of a rank."""

_place: dict[str, int] = {}


def bind(**place: int) -> None:
    """Says where this process is from now on: attempt, node, rank, step; its log entries tell it."""
    _place.update(place)


def find_secrets(environment: Mapping[str, str]) -> list[str]:
    """Returns the values of an environment that are secrets by the names of their variables, longest first."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    return sorted((value for value in found if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def mask(text: str, secrets: Iterable[str] | None = None) -> str:
    """Returns a text without secrets: those of the environment, and what looks like one."""
    for secret in find_secrets(os.environ) if secrets is None else secrets:
        text = text.replace(secret, MASK)
    return mask_secrets(text)


class JsonHandler(logging.StreamHandler[IO[str]]):
    """Writes entries. Keeps its form when a library sets another formatter for all handlers."""

    def __init__(self, stream: IO[str], environment: Mapping[str, str]) -> None:
        super().__init__(stream)
        self._secrets = find_secrets(environment)

    def format(self, record: logging.LogRecord) -> str:
        """Renders a record as an entry."""
        return self.to_entry(record).to_json()

    def to_entry(self, record: logging.LogRecord) -> LogEntry:
        """Returns the entry of a record, without secrets."""
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        trace = record.exc_text
        return LogEntry(
            time=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname,
            logger=record.name,
            message=mask(record.getMessage().rstrip(), self._secrets),
            exception=None if trace is None else mask(trace, self._secrets),
            **{**_place, **getattr(record, "place", {})},
        )


def configure(handler: logging.Handler) -> None:
    """Sends everything that is logged to a handler, warnings of Python included."""
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def log_as_json(level: int = logging.INFO) -> None:
    """Logs to standard error as JSON lines."""
    handler = JsonHandler(sys.stderr, os.environ)
    # The handler's, since libraries set those of loggers.
    handler.setLevel(level)
    configure(handler)


class Relay(threading.Thread):
    """Hands on what child processes write: entries as they are, anything else as the message of one."""

    def __init__(self, stream: IO[str], name: str) -> None:
        super().__init__(name=f"log-of-{name}", daemon=True)
        self._stream = stream
        self._logger = logging.getLogger(name)
        self.last = ""
        """The newest line."""
        self.start()

    def run(self) -> None:
        """Reads until the last process that could write has ended."""
        for line in self._stream:
            if text := line.rstrip():
                self.last = text
                self._logger.handle(read_line(text, self._logger.name))


def run_relayed(command: Sequence[str], environment: Mapping[str, str], name: str) -> tuple[int, str]:
    """Runs a command whose output goes to the log; returns its exit code and last line."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        relay = Relay(cast(IO[str], process.stdout), name)
        code = process.wait()
        relay.join()
    return code, relay.last


def read_line(line: str, logger: str) -> logging.LogRecord:
    """Returns the record of a line that a child process has written."""
    prefix = _RANK.match(line)
    place = {"rank": int(prefix["rank"])} if prefix else {}
    text = line[prefix.end() :] if prefix else line
    try:
        entry = LogEntry.model_validate_json(text)
    except ValidationError:
        found = _GLOG.match(text)
        level = _LEVELS[found["level"]] if found else "INFO"
        return _record(logger, level, text, place)
    place |= entry.model_dump(include={"attempt", "node", "rank", "step"}, exclude_none=True)
    record = _record(entry.logger, entry.level, entry.message, place)
    record.created, record.exc_text = entry.time.timestamp(), entry.exception
    return record


def _record(logger: str, level: str, message: str, place: Mapping[str, int]) -> logging.LogRecord:
    number = logging.getLevelNamesMapping().get(level, logging.INFO)
    record = logging.LogRecord(logger, number, "", 0, message, None, None)
    record.__dict__["place"] = dict(place)
    return record
