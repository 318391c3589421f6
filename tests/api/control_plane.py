"""etcd and kube-apiserver on free ports of 127.0.0.1, with RBAC on."""

import contextlib
import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.cluster.builds import build_kubernetes
from tests.support.ports import free_port

ADMIN_TOKEN = "administrator"
OPERATOR = "system:serviceaccount:customizer-system:customizer-operator"
_READY_WITHIN = 90
"""Seconds that a server may take to start."""
_BUSY_AT_MOST = 30
"""Seconds for which a request is tried again while the apiserver says that it has too much to do."""
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Request", "users": [OPERATOR]}, {"level": "None"}],
}


class ApiRefusedError(Exception):
    """The apiserver refused a request of the test."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class ControlPlane(AbstractContextManager["ControlPlane"]):
    """A real apiserver, and a client with all rights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = build_kubernetes()
        self.url = f"https://127.0.0.1:{free_port()}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.audit = folder / "audit.log"
        """What the operator has asked of the apiserver, a line a request."""
        # The apiserver makes it itself when it starts.
        self.authority = folder / "certificates" / "apiserver.crt"
        self._trust: ssl.SSLContext | None = None
        self._own = threading.local()

    def __enter__(self) -> Self:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        key, tokens = self.folder / "service-accounts.key", self.folder / "tokens.csv"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens.write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        policy = self.folder / "audit.json"
        policy.write_text(json.dumps(_AUDIT))
        self.start(
            "kube-apiserver",
            f"--etcd-servers={client}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.url.rpartition(':')[2]}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit}",
            "--disable-admission-plugins=ServiceAccount",
        )
        deadline = time.monotonic() + _READY_WITHIN
        while not self._is_ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                log = (self.folder / "kube-apiserver.log").read_text()[-2000:]
                self.__exit__(None, None, None)
                raise RuntimeError(f"the apiserver did not become ready: {log}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)

    def start(self, program: str, *arguments: str, folder: Path | None = None) -> int:
        """Starts a program of Kubernetes, or of another folder; it ends with the control plane. Returns its pid."""
        log = (self.folder / f"{program}.log").open("wb")
        command = [(folder or self.programs) / program, *arguments]
        self._processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        return self._processes[-1].pid

    def _is_ready(self) -> bool:
        try:
            self.call("GET", "/readyz", raw=True)
            self.call("GET", "/api/v1/namespaces/default")
        except (ApiRefusedError, OSError):
            return False
        return True

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        raw: bool = False,
        user: str | None = None,
    ) -> Any:
        """Calls the API, as administrator or as that user; raises ApiRefusedError with the apiserver's words."""
        headers = {
            "Authorization": f"Bearer {ADMIN_TOKEN}",
            "Content-Type": content_type,
            **({} if user is None else {"Impersonate-User": user}),
        }
        sent = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + _BUSY_AT_MOST
        while True:
            status, data = self._send(method, path, sent, headers)
            if status < HTTPStatus.BAD_REQUEST:
                return data if raw else json.loads(data)
            # So it answers for a moment after a CRD has changed; kubectl tries again, too.
            if status != HTTPStatus.TOO_MANY_REQUESTS or time.monotonic() > deadline:
                raise ApiRefusedError(status, _message(data.decode()))
            time.sleep(0.5)

    def watch(self, path: str) -> Iterator[Any]:
        """Yields what becomes of the objects at a path, from those that are there on, until the control plane ends."""
        while True:
            connection = self._connect()
            connection.sock.settimeout(None)
            connection.request("GET", f"{path}?watch=true", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            response = connection.getresponse()
            if response.status != HTTPStatus.TOO_MANY_REQUESTS:  # as `call` tries again
                break
            connection.close()
            time.sleep(0.5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            for line in response:
                yield json.loads(line)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Asks over the connection of this thread, or over a new one if the apiserver has ended that meanwhile."""
        kept: http.client.HTTPSConnection | None = self._own.__dict__.pop("connection", None)
        if kept is not None:
            with contextlib.suppress(ConnectionError, http.client.HTTPException, ssl.SSLError):
                return self._ask(kept, method, path, body, headers)
        return self._ask(self._connect(), method, path, body, headers)

    def _ask(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        self._own.connection = connection
        return response.status, data

    def _connect(self) -> http.client.HTTPSConnection:
        if self._trust is None:
            self._trust = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection(urlsplit(self.url).netloc, context=self._trust, timeout=30)
        connection.connect()
        return connection

    def install(self, path: Path, flag: str = "-f") -> None:
        """Applies manifests (`-k`: a kustomization) and waits until the apiserver serves their kinds."""
        self.kubectl("apply", "--server-side", flag, str(path))
        self.wait_for_crds()

    def wait_for_crds(self) -> None:
        """Waits until the apiserver serves every CRD. `kubectl wait` fails on one without any condition yet."""
        deadline = time.monotonic() + _READY_WITHIN
        crds: list[Any] = []
        while not crds or not all(_is_established(crd) for crd in crds):
            if time.monotonic() > deadline:
                raise AssertionError("a CRD is not established")
            time.sleep(0.1)
            crds = self.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs kubectl as administrator; returns what it printed, errors included."""
        connection = [f"--server={self.url}", f"--token={ADMIN_TOKEN}", f"--certificate-authority={self.authority}"]
        command = [self.programs / "kubectl", *connection, f"--cache-dir={self.folder / 'kubectl'}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout + done.stderr

    def write_kubeconfig(self, path: Path, token: str, server: str | None = None) -> Path:
        """Writes a kubeconfig for the owner of a token; `server` is something that stands before the apiserver."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": server or self.url, "certificate-authority": str(self.authority)},
                }
            ],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(json.dumps(config))
        return path


def _is_established(crd: Any) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError):
        return text
