"""Moving a model's files to an S3 server and back: the trainer's store against s5cmd, with the same server and disk."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from customizer_contract.errors import Reason
from customizer_contract.sources import ObjectStorage
from customizer_trainer.storage.s3 import S3
from tests.cluster.builds import S5CMD, build_upstream
from tests.train.conftest import client
from tests.train.storage_server import StorageServer

MEBIBYTE = 2**20
SHARDS, SHARD_MEBIBYTES, SMALL = 4, 128, 8
"""Weights, and the small files beside them."""
_ROUNDS = 6


def report() -> None:
    """Prints megabytes a second up and down, and the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _write_files(folder / "files")
        size = sum(path.stat().st_size for path in files.values()) / 1e6
        (folder / "server").mkdir()
        server = StorageServer(folder / "server")
        server.start()
        try:
            _report(server, files, folder, size)
        finally:
            server.stop()


def _report(server: StorageServer, files: dict[str, Path], folder: Path, size: float) -> None:
    os.environ.update(server.storage.environment)
    client(server.storage).create_bucket(Bucket="bench")
    store = S3(ObjectStorage(endpoint_url=server.storage.endpoint))
    s5cmd = [str(build_upstream(S5CMD) / "s5cmd"), "--endpoint-url", server.storage.endpoint, "cp"]
    ours, theirs, source = "s3://bench/ours", "s3://bench/theirs", files["part-0.safetensors"].parent

    def clean() -> None:
        for prefix in (ours, theirs):
            store.delete(prefix)

    print(f"\nMoving {len(files)} files, {size:.0f} MB, to an S3 server of this machine and back")
    print(f"{'':<12}{'ours MB/s':>12}{'s5cmd MB/s':>12}{'ratio':>8}")
    up = _compare(
        clean, lambda: _ignore(store.upload(files, ours)), lambda: _run(*s5cmd, f"{source}/", f"{theirs}/"), size
    )
    print(f"{'upload':<12}{up[0]:>12.0f}{up[1]:>12.0f}{up[0] / up[1]:>8.2f}")
    store.upload(files, ours)
    target = folder / "down"
    down = _compare(
        lambda: _run("rm", "-rf", str(target)),
        lambda: _ignore(store.download(f"{ours}/", target, missing=Reason.MODEL_NOT_FOUND)),
        lambda: _run(*s5cmd, f"{ours}/*", f"{target}/"),
        size,
    )
    print(f"{'download':<12}{down[0]:>12.0f}{down[1]:>12.0f}{down[0] / down[1]:>8.2f}")


def _compare(
    prepare: Callable[[], None], ours: Callable[[], None], theirs: Callable[[], None], size: float
) -> tuple[float, float]:
    """Returns the best speeds of some rounds: what else runs here only slows, and whoever is first changes."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(_ROUNDS):
        pairs = [(ours, speeds[0]), (theirs, speeds[1])]
        for move, found in pairs[:: 1 if number % 2 else -1]:
            prepare()
            os.sync()
            began = time.monotonic()
            move()
            found.append(size / (time.monotonic() - began))
    return max(speeds[0]), max(speeds[1])


def _write_files(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    files = {}
    for number in range(SHARDS):
        path = files[f"part-{number}.safetensors"] = folder / f"part-{number}.safetensors"
        with path.open("wb") as stream:
            for _ in range(SHARD_MEBIBYTES):
                stream.write(os.urandom(MEBIBYTE))
    for number in range(SMALL):
        path = files[f"small-{number}.json"] = folder / f"small-{number}.json"
        path.write_bytes(os.urandom(10_000))
    return files


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _ignore(_: object) -> None:
    """Lets a call that returns something stand where nothing is expected."""


if __name__ == "__main__":
    sys.exit(report())
