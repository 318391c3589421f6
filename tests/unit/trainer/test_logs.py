"""Every line of the log is an entry that says where the training was, and holds no secret."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.logs import LogEntry
from customizer_trainer import logs
from customizer_trainer.logs import JsonHandler, find_secrets, mask, read_line, run_relayed
from tests.cluster.settings import REPOSITORY

KEY = "wJalrXUtnFEMIbPxRfiCYEXAMPLE"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "not-a-secret",
    "AWS_SECRET_ACCESS_KEY": KEY,
    "HF_TOKEN": f"{KEY}-and-more",
    "MLFLOW_TRACKING_PASSWORD": "short",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
    "TOKENIZERS_PARALLELISM": "false",
}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts before anything was bound."""
    monkeypatch.setattr(logs, "_place", {})


def written(*records: logging.LogRecord) -> list[dict[str, Any]]:
    """Returns what a handler writes."""
    stream = io.StringIO()
    handler = JsonHandler(stream, ENVIRONMENT)
    handler.setFormatter(logging.Formatter("a library's own: %(message)s"))
    for record in records:
        handler.handle(record)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("some.part", logging.WARNING, "", 0, message, arguments, trace)


def test_an_entry_says_who_said_what_and_where_the_training_was() -> None:
    logs.bind(attempt=2, node=1, step=7)
    (entry,) = written(record("%d of\n%s", 3, "four"))
    assert LogEntry.model_validate(entry).time.tzinfo is not None
    del entry["time"]
    assert entry == {
        "level": "WARNING", "logger": "some.part", "message": "3 of\nfour", "attempt": 2, "node": 1, "step": 7
    }  # fmt: skip


def test_secrets_are_the_values_of_variables_that_are_called_so() -> None:
    assert find_secrets(ENVIRONMENT) == [f"{KEY}-and-more", KEY]


def test_no_secret_is_written_in_a_message_an_argument_or_a_stack_trace() -> None:
    error = ValueError(f"cannot sign with {KEY} at https://user:pa55word@host/x?X-Amz-Signature=abc")
    lines = written(record(f"key {KEY}"), record("token %s", f"{KEY}-and-more"), record("crash", error=error))
    assert KEY not in json.dumps(lines)
    assert [line["message"] for line in lines] == ["key ***", "token ***", "crash"]
    assert lines[2]["exception"] == "ValueError: cannot sign with *** at https://***@host/x?X-Amz-Signature=***"


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    told = "num_label_tokens=512 tokenizer: fast, 100 tokens/s, s3://bucket/Llama-3.1-8B-Instruct/model-00001-of-00004"
    assert mask(told, []) == told


LINES = {
    "an entry of a rank": (
        '[rank3]:{"time":"2026-01-01T00:00:00Z","level":"ERROR","logger":"x","message":"no","rank":3,"step":5}',
        {"level": "ERROR", "logger": "x", "message": "no", "rank": 3, "step": 5},
    ),
    "what a rank prints": ("[rank1]:Loading", {"level": "INFO", "logger": "output", "message": "Loading", "rank": 1}),
    "what torch says of a rank": (
        "[rank0]:[rank0]: [E1125 22:04:17.123 ProcessGroupNCCL.cpp:1] Watchdog caught",
        {"level": "ERROR", "message": "[E1125 22:04:17.123 ProcessGroupNCCL.cpp:1] Watchdog caught", "rank": 0},
    ),
    "what torchrun says": ("W1125 22:04:17.123 1 api.py] closing", {"level": "WARNING", "logger": "output"}),
    "what only looks like an entry": ('[rank0]:{"time": 1}', {"level": "INFO", "message": '{"time": 1}', "rank": 0}),
}


@pytest.mark.parametrize(("line", "expected"), LINES.values(), ids=LINES.keys())
def test_a_line_of_another_process_becomes_an_entry(line: str, expected: dict[str, Any]) -> None:
    logs.bind(attempt=2, step=4)
    (entry,) = written(read_line(line, "output"))
    assert {name: entry[name] for name in expected} == expected
    assert entry["attempt"] == 2
    assert entry["step"] == expected.get("step", 4)


def test_what_a_child_process_prints_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    program = "import sys; print('one'); print('two', file=sys.stderr, flush=True); sys.exit(3)"
    with caplog.at_level(logging.INFO):
        assert run_relayed([sys.executable, "-u", "-c", program], os.environ, "child") == (3, "two")
    assert [(said.name, said.getMessage()) for said in caplog.records] == [("child", "one"), ("child", "two")]


def test_a_rank_that_fails_writes_entries_alone_and_no_secret(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from customizer_trainer.training.rank import run_rank\n"
        "def load(device):\n"
        f"    raise ValueError('the key is {KEY}')\n"
        "sys.exit(run_rank(load))\n"
    )
    place = {"RANK": "5", "LOCAL_RANK": "0", "PYTHONPATH": str(REPOSITORY / "trainer")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "recipe", str(tmp_path), "cpu"],
        env={**os.environ, **ENVIRONMENT, **place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (entry,) = [LogEntry.model_validate_json(line) for line in done.stderr.splitlines()]
    assert (entry.level, entry.rank, entry.message) == ("ERROR", 5, "Crashed")
    assert entry.exception is not None
    assert entry.exception.endswith("ValueError: the key is ***")
