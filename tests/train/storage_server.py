"""A real S3 server on this machine."""

import os
import socket
import subprocess
import time
from pathlib import Path

from tests.cluster.builds import VERSITYGW, build_upstream
from tests.support.ports import free_port
from tests.train.harness import Storage


class StorageServer:
    """versitygw on a free port of the loopback; stopped and started again, it has what it had."""

    def __init__(self, root: Path) -> None:
        for name in ("data", "sidecar"):
            (root / name).mkdir()
        self._address = f"127.0.0.1:{free_port()}"
        self.storage = Storage(f"http://{self._address}", "tests", "tests-secret")
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        program = build_upstream(VERSITYGW) / "versitygw"
        options = ["--port", self._address, "posix", "--sidecar", str(self._root / "sidecar"), str(self._root / "data")]
        keys = {"ROOT_ACCESS_KEY": self.storage.access_key, "ROOT_SECRET_KEY": self.storage.secret_key}
        with (self._root / "log").open("a") as log:
            self._process = subprocess.Popen([program, *options], env={**os.environ, **keys}, stdout=log, stderr=log)
        _await(self._address)

    def stop(self) -> None:
        """Stops it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


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
