"""The cluster's own smoke check: what it promises, tried on the running cluster."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from tests.cluster import handle, processes
from tests.cluster.commands import CommandError, run, succeeds
from tests.cluster.console import say
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import S3_ENDPOINT, Cluster

_OUTSIDE = "http://192.0.2.1"
"""An address that documentation owns: any network with a way out would try it, and time out instead of refusing."""
_EMPTY_AT_MOST = 2 << 30
"""Bytes of memory of a cluster, Kueue included, that runs no jobs and no servers."""


def check(cluster: Cluster, confined: bool) -> bool:
    """Tries every promise, says how each went, and returns whether all held."""
    kubectl = handle.kubectl()
    promises: dict[str, Callable[[], str]] = {
        "nodes are Ready and advertise GPUs": lambda: _nodes(cluster, kubectl),
        "Service names resolve": _names,
        "Services answer": lambda: _reach(f"{S3_ENDPOINT}/health"),
        "objects can be put and read back": lambda: _objects(kubectl),
        "pod security refuses a privileged pod": lambda: _pod_security(kubectl),
        "memory of the cluster and its pods": lambda: _memory(kubectl),
    }
    if confined:
        promises["nothing has a way out"] = _confinement
    held = True
    for promise, attempt in promises.items():
        try:
            say(f"ok      {promise}: {attempt()}")
        except (AssertionError, CommandError) as problem:
            say(f"FAILED  {promise}: {problem}")
            held = False
    return held


def _nodes(cluster: Cluster, kubectl: Kubectl) -> str:
    found = {item["metadata"]["name"]: item for item in kubectl.get("nodes")["items"]}
    for node in cluster.nodes:
        status = found[node.name]["status"]
        ready = next(entry["status"] for entry in status["conditions"] if entry["type"] == "Ready")
        assert ready == "True", f"{node.name} is not Ready"
        assert status["allocatable"].get("nvidia.com/gpu") == str(node.gpus), f"{node.name} lost its GPUs"
        labels = found[node.name]["metadata"]["labels"]
        assert node.labels.items() <= labels.items(), f"{node.name} lost its labels"
    return ", ".join(f"{node.name} with {node.gpus}" for node in cluster.nodes)


def _names() -> str:
    return run(handle.RUN, "getent", "hosts", "s3.object-storage.svc.cluster.local").split()[0]


def _reach(url: str) -> str:
    return run(handle.RUN, "curl", "--silent", "--show-error", "--fail", "--max-time", "5", url).strip()


def _objects(kubectl: Kubectl) -> str:
    secret = kubectl.get("secret", "s3-credentials", "--namespace=object-storage")["data"]
    user = ":".join(base64.b64decode(secret[f"AWS_{name}"]).decode() for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    curl = (handle.RUN, "curl", "--silent", "--show-error", "--fail", "--max-time", "10")
    unsigned_body = ("--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD")
    signed = (*curl, "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", user, *unsigned_body)
    bucket = f"{S3_ENDPOINT}/status-check"
    if not succeeds(*signed, "--head", bucket):
        run(*signed, "--request", "PUT", bucket)
    text = "written by the status check"
    run(*signed, "--request", "PUT", "--data-binary", text, f"{bucket}/object")
    assert run(*signed, f"{bucket}/object") == text, "the object came back changed"
    refused = succeeds(*curl, f"{bucket}/object")
    assert not refused, "an object was read without credentials"
    run(*signed, "--request", "DELETE", f"{bucket}/object")
    run(*signed, "--request", "DELETE", bucket)
    return S3_ENDPOINT


def _confinement() -> str:
    """Unreachable at once, not after a time-out: there is no route at all, rather than a filter on one."""
    assert not succeeds(handle.RUN, "ip", "route", "get", "192.0.2.1"), "there is a route to the outside"
    assert not succeeds(handle.RUN, "curl", "--silent", "--max-time", "5", _OUTSIDE), "the outside answered"
    return "no route"


def _pod_security(kubectl: Kubectl) -> str:
    container = {"name": "privileged", "image": "none", "securityContext": {"privileged": True}}
    metadata = {"name": "privileged", "namespace": "object-storage"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    try:
        answer = kubectl.run("create", "--dry-run=server", "--filename=-", stdin=json.dumps(pod))
    except CommandError as refusal:
        answer = str(refusal)
    assert "violates PodSecurity" in answer, answer
    return "refused"


def _memory(kubectl: Kubectl) -> str:
    """Adds up the shares of memory of every program that carries the cluster's mark, and of what runs in its pods.

    How much jobs and servers take is their own affair; the cluster without them must leave a small machine room.
    """
    pods = kubectl.get("pods", "--all-namespaces", "--selector=app.kubernetes.io/managed-by=customizer-operator")
    busy = [pod for pod in pods["items"] if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    total = sum(_proportional_set(pid) for pid in processes.family())
    told = f"{total / 2**20:.0f} MiB"
    if busy:
        return f"{told}, with {len(busy)} pods of jobs and servers"
    assert total <= _EMPTY_AT_MOST, f"{told} without any job or server"
    return told


def _proportional_set(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
