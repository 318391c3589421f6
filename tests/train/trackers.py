"""A real MLflow server, and what it and W&B's offline mode were told."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import environments
from tests.support.ports import free_port

_START_SECONDS = 120


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[str]:
    """Runs a tracking server on a free port of the loopback, and yields its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    python = environments.make("servers") / "bin" / "python"
    options = ["--host=127.0.0.1", f"--port={port}", "--workers=1", f"--backend-store-uri=file://{folder}/runs"]
    # A file store needs no migrations, which take a quarter of a minute; nor does a test need what runs beside it.
    light = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **light, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            [python, "-m", "mlflow", "server", *options], stdout=log, stderr=log, cwd=folder, env=environment
        )
    try:
        _await(address, server, folder / "mlflow.log")
        yield address
    finally:
        server.terminate()
        server.wait()


def find_run(address: str, experiment: str) -> dict[str, Any]:
    """Returns the one run of an experiment."""
    found = _ask(address, f"experiments/get-by-name?experiment_name={experiment}")
    body = {"experiment_ids": [found["experiment"]["experiment_id"]]}
    (run,) = _ask(address, "runs/search", body)["runs"]
    return dict(run)


def history(address: str, run: dict[str, Any], number: str) -> dict[int, float]:
    """Returns what was told of a number, by step; each step was told once."""
    found = _ask(address, f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={number}")
    points = [(int(point.get("step", 0)), float(point["value"])) for point in found["metrics"]]
    assert len(points) == len(dict(points)), points
    return dict(points)


def _ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def _await(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
