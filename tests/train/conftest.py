"""An S3 server with the tiny model and data in it."""

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.cluster.builds import VERSITYGW, build_upstream
from tests.models.make import tiny
from tests.train.harness import Storage

collect_ignore = (
    ["test_unsloth.py"]
    if find_spec("nemo_automodel")
    else ["test_preflight.py", "test_serving.py", "test_storage.py", "test_training.py"]
)
"""What is not run in this environment: the backends exclude each other, and the rest needs to be run only once."""

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}


@pytest.fixture(scope="session")
def model() -> Path:
    """The tiny model's folder."""
    folder = os.environ.get("CUSTOMIZER_TEST_MODELS")
    return Path(folder) / "tiny" if folder else tiny()


@pytest.fixture(scope="session")
def storage(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """versitygw on a free port of the loopback, with bucket `tests`."""
    root = tmp_path_factory.mktemp("s3")
    for name in ("data", "sidecar"):
        (root / name).mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = Storage(f"http://{address}", "tests", "tests-secret")
    program = build_upstream(VERSITYGW) / "versitygw"
    options = ["--port", address, "posix", "--sidecar", str(root / "sidecar"), str(root / "data")]
    keys = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    with (root / "log").open("w") as log:
        process = subprocess.Popen([program, *options], env={**os.environ, **keys}, stdout=log, stderr=log)
    try:
        _await(address)
        _fill(server, model)
        yield server
    finally:
        process.terminate()
        process.wait()


def _await(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "versitygw does not listen"
            time.sleep(0.1)
        else:
            return


def client(storage: Storage):  # type: ignore[no-untyped-def]
    """Returns a boto3 client for the server."""
    return boto3.client(
        "s3",
        endpoint_url=storage.endpoint,
        region_name="us-east-1",
        aws_access_key_id=storage.access_key,
        aws_secret_access_key=storage.secret_key,
        config=Config(signature_version="s3v4"),
    )


def _fill(storage: Storage, model: Path) -> None:
    s3 = client(storage)
    s3.create_bucket(Bucket="tests")
    for path in model.iterdir():
        s3.upload_file(str(path), "tests", f"models/tiny/{path.name}")
    for name, lines in {
        "pairs/train.jsonl": pairs(64),
        "pairs/validation.jsonl": pairs(9, seed=1),
        "chat/train.jsonl": chats(48),
        "broken/train.jsonl": [*pairs(6), '{"prompt": "no completion"}', *pairs(3)],
    }.items():
        s3.put_object(Bucket="tests", Key=f"data/{name}", Body="\n".join(lines).encode())


def pairs(count: int, seed: int = 0) -> list[str]:
    """Returns prompt/completion records."""
    chance = random.Random(seed)
    countries = [chance.choice(list(CAPITALS)) for _ in range(count)]
    return [
        json.dumps({"prompt": f"What is the capital of {country}?", "completion": f" It is {CAPITALS[country]}."})
        for country in countries
    ]


def chats(count: int) -> list[str]:
    """Returns chat records."""
    chance = random.Random(2)
    records = []
    for _ in range(count):
        country = chance.choice(list(CAPITALS))
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": f"The capital of {country}?"},
            {"role": "assistant", "content": CAPITALS[country]},
        ]
        records.append(json.dumps({"messages": messages}))
    return records
