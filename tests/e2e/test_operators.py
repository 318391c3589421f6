"""Two operators, as the overlay of replicas installs them: one is lost, the other one takes over."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.settings import HANDLE
from tests.e2e.conftest import NAMESPACE, build_job
from tests.support import kubectl

SYSTEM = "customizer-system"
OPERATOR = "deployment/customizer-operator"
REPLICAS = Path(__file__).parents[2] / "manifests/overlays/replicas"
DEPLOYED = HANDLE / "operator"
"""The kustomization that `make deploy` has written: overlays/local with the images of this clone."""
_FAILOVER_SECONDS = 30


def _apply(folder: Path) -> None:
    manifests = kubectl.kubectl("kustomize", str(folder))
    kubectl.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifests)
    kubectl.kubectl("rollout", "status", f"--namespace={SYSTEM}", OPERATOR, "--timeout=120s")


def _find_leader() -> str:
    """Returns the name of the pod that holds the Lease, nothing while nobody does."""
    lease = kubectl.get("lease", "customizer-operator", SYSTEM) or {"spec": {}}
    return str(lease["spec"].get("holderIdentity") or "").rpartition("-")[0]


def _wait_for_leader(*, other_than: str) -> str:
    deadline = time.monotonic() + _FAILOVER_SECONDS
    while (leader := _find_leader()) in ("", other_than):
        assert time.monotonic() < deadline, f"nobody but {other_than or 'nobody'} leads"
        time.sleep(0.5)
    return leader


@pytest.fixture
def two_operators(tmp_path: Path) -> Iterator[None]:
    """Two of the operator, until the test ends."""
    folders = {"resources": [DEPLOYED], "components": [REPLICAS]}
    relative = {member: [os.path.relpath(path, tmp_path) for path in paths] for member, paths in folders.items()}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(relative))
    _apply(tmp_path)
    yield
    # An apply cannot take away what the apiserver has added to the strategy that goes.
    alone = json.dumps([{"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}}])
    kubectl.kubectl("patch", OPERATOR, f"--namespace={SYSTEM}", "--type=json", "-p", alone)
    _apply(DEPLOYED)
    kubectl.kubectl("delete", f"--namespace={SYSTEM}", "role,rolebinding", "customizer-operator-lease")
    kubectl.delete("lease", "customizer-operator", SYSTEM)


@pytest.mark.usefixtures("two_operators")
def test_another_operator_takes_over_when_the_pod_of_the_one_that_leads_is_lost() -> None:
    first = _wait_for_leader(other_than="")
    # Killed, so that it cannot give the Lease back.
    kubectl.kubectl("delete", "pod", first, f"--namespace={SYSTEM}", "--grace-period=0", "--force")
    second = _wait_for_leader(other_than=first)
    job = build_job("after-failover")
    job["spec"]["planOnly"] = True
    kubectl.apply(job)
    kubectl.wait_until(
        "customizationjob",
        "after-failover",
        NAMESPACE,
        lambda found: kubectl.is_true(found, "DatasetReady"),
        timeout=90,
    )
    assert _find_leader() == second
    kubectl.delete("customizationjob", "after-failover", NAMESPACE)
