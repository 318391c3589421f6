"""An S3 server with the tiny model and data in it."""

import io
import json
import os
import random
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing.context import ForkServerContext
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.models.make import tiny
from tests.train.harness import Storage
from tests.train.storage_server import StorageServer
from tests.train.trackers import serve_mlflow

_FOR_UNSLOTH = "test_unsloth*.py"
_TESTS = Path(__file__).parent
collect_ignore = [
    path.name
    for path in _TESTS.glob("test_*.py")
    if path.match(_FOR_UNSLOTH) == (find_spec("nemo_automodel") is not None)
]
"""What is not run in this environment: the backends exclude each other, and the rest needs to be run only once."""

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}


@pytest.fixture(scope="session")
def model() -> Path:
    """The tiny model's folder."""
    folder = os.environ.get("CUSTOMIZER_TEST_MODELS")
    return Path(folder) / "tiny" if folder else tiny()


@pytest.fixture(scope="session")
def storage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """The server behind `storage`."""
    server = StorageServer(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def storage(storage_server: StorageServer, model: Path) -> Storage:
    """An S3 server with bucket `tests`."""
    _fill(storage_server.storage, model)
    return storage_server.storage


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server."""
    with serve_mlflow(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Where Automodel's ranks start with the library imported."""
    from tests.train import worlds

    return worlds.context()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and samples for them, and a folder for each training that is given a name."""
    from tests.train.spread import make_disk

    return make_disk(tmp_path_factory.mktemp("spread"))


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


def put_table(storage: Storage, key: str, count: int) -> None:
    """Uploads a Parquet file of prompts and completions in columns of other names."""
    import pyarrow
    from pyarrow import parquet

    records = [json.loads(line) for line in pairs(count)]
    names = {"question": "prompt", "answer": "completion"}
    columns = {column: [record[name] for record in records] for column, name in names.items()}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    client(storage).put_object(Bucket="tests", Key=key, Body=file.getvalue())


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
