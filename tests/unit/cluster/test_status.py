"""The cluster's smoke check: what it promises about memory."""

import json

import pytest

from tests.cluster import processes, status
from tests.cluster.kubectl import Kubectl

GIB = 1 << 30


def with_pods(*phases: str) -> Kubectl:
    """Answers whatever it is asked with pods in these phases."""
    answer = json.dumps({"items": [{"status": {"phase": phase}} for phase in phases]})
    return Kubectl(("sh", "-c", f"echo '{answer}'"))


@pytest.mark.parametrize("phases", [(), ("Succeeded", "Failed")])
def test_a_cluster_without_jobs_takes_at_most_2_gib(monkeypatch: pytest.MonkeyPatch, phases: tuple[str, ...]) -> None:
    monkeypatch.setattr(processes, "family", lambda: {1, 2})
    monkeypatch.setattr(status, "_proportional_set", lambda pid: GIB)
    assert status._memory(with_pods(*phases)) == "2048 MiB"
    monkeypatch.setattr(processes, "family", lambda: {1, 2, 3})
    with pytest.raises(AssertionError, match="3072 MiB without any job"):
        status._memory(with_pods(*phases))
    assert status._memory(with_pods(*phases, "Running")) == "3072 MiB, with 1 pods of jobs and servers"
