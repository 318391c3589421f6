"""Two operators: one writes; the other one takes over when that one falls silent, and never before."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from tests.api.conftest import ROOT, Operator
from tests.api.control_plane import ControlPlane
from tests.api.proxy import Proxy
from tests.api.world import World
from tests.support import samples

_LEASE = "/apis/coordination.k8s.io/v1/namespaces/customizer-system/leases/customizer-operator"
_FAILOVER_SECONDS = 20


@pytest.fixture
def proxies(control_plane: ControlPlane) -> Iterator[tuple[Proxy, Proxy]]:
    """A proxy for each operator."""
    with Proxy(control_plane) as first, Proxy(control_plane) as second:
        yield first, second


def _written(proxy: Proxy) -> list[str]:
    return [request.path for request in proxy.writes if "/leases" not in request.path]


def _lease(world: World) -> dict[str, str]:
    spec: dict[str, str] = world.plane.call("GET", _LEASE)["spec"]
    return spec


def test_the_second_takes_over_within_seconds_and_the_first_never_writes_again(
    world: World,
    proxies: tuple[Proxy, Proxy],
    start_operator: Callable[..., Operator],
    control_plane: ControlPlane,
) -> None:
    control_plane.install(ROOT / "manifests/overlays/replicas/lease.yaml")
    first, second = proxies
    leader = start_operator(first.url, CUSTOMIZER_LEASE_NAMESPACE="customizer-system")
    world.create("customizationjobs", samples.job())
    world.wait("preflight", lambda: world.get("jobs", "tickets-preflight"))
    follower = start_operator(second.url, CUSTOMIZER_LEASE_NAMESPACE="customizer-system")
    world.wait("a status", lambda: (world.get("customizationjobs", "tickets") or {}).get("status"))
    before = _lease(world)

    first.die()
    world.pass_preflight("tickets", samples.passed())
    world.wait("attempt 1", lambda: world.get("pytorchjobs", "tickets-a1"))
    after = _lease(world)
    assert after["holderIdentity"] != before["holderIdentity"]
    silence = datetime.fromisoformat(after["acquireTime"]) - datetime.fromisoformat(before["renewTime"])
    assert silence.total_seconds() < _FAILOVER_SECONDS
    first.revive()
    written = _written(first)
    assert written
    assert not set(_written(second)) & {f"/apis/batch/v1/namespaces/{world.namespace}/jobs"}
    world.wait("the first to end", lambda: not leader.is_running())
    assert _written(first) == written
    assert follower.is_running()

    follower.stop()
    assert not _lease(world).get("holderIdentity"), "it was given back"


@pytest.mark.usefixtures("integrations")
def test_components_make_two_of_the_operator_and_watch_it(control_plane: ControlPlane, tmp_path: Path) -> None:
    manifests = Path(os.path.relpath(ROOT / "manifests", tmp_path))
    components = ", ".join(str(manifests / "overlays" / name) for name in ("replicas", "monitoring"))
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{manifests / 'base'}]\ncomponents: [{components}]\n")
    told = control_plane.kubectl("apply", "--server-side", "--dry-run=server", "-o=yaml", "-k", str(tmp_path))
    items = yaml.safe_load(told)["items"]
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= {item["kind"] for item in items}
    deployment = next(item for item in items if item["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    names = [entry["name"] for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "CUSTOMIZER_LEASE_NAMESPACE" in names
