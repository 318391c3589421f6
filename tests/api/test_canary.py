"""A canary on a real apiserver, under the operator's own rights: it comes and goes, and only a good one takes over."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from customizer_contract.adapters import SIDECAR_PORT, SidecarReport, Wish
from customizer_contract.evaluation import EvaluationReport
from customizer_operator.api.model_runtime import PORT
from customizer_operator.objects.serving_sidecar import WISH_ANNOTATION
from tests.api.test_model_deployment import KIND, canary, deployment, names, served, verify
from tests.api.world import Object, World, timestamp

SCORES = {"bot": 0.7, "bot-canary": 0.4}
ADDRESSES = {"bot": "127.0.0.81", "bot-canary": "127.0.0.82"}


@contextmanager
def answer(address: str, port: int, tell: Callable[[], Object]) -> Iterator[None]:
    """Answers every request with what is told at that moment."""

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(tell()).encode())

        def log_message(self, *_: object) -> None:
            """Is silent."""

    server = ThreadingHTTPServer((address, port), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def tell_report(world: World, name: str) -> Object:
    """Tells what the sidecar of a server does, which is asked by an annotation of its pod."""
    annotations = ((world.get("pods", f"{name}-0") or {"metadata": {}})["metadata"]).get("annotations") or {}
    if WISH_ANNOTATION not in annotations:
        return {}
    wish = Wish.model_validate_json(annotations[WISH_ANNOTATION])
    question = wish.evaluation.digest if wish.evaluation else ""
    found = EvaluationReport(question=question, score=SCORES[name], samples=9, dataset_digest="d")
    report = SidecarReport(wish=wish.digest, models=names(), evaluation=found if wish.evaluation else None)
    return dict(json.loads(report.to_json()))


@pytest.fixture
def servers(world: World) -> Iterator[None]:
    """What listens at the addresses of the pods."""
    with ExitStack() as stack:
        for name, address in ADDRESSES.items():
            listed = {"data": [{"id": model} for model in names()]}
            stack.enter_context(answer(address, PORT, lambda listed=listed: listed))
            stack.enter_context(answer(address, SIDECAR_PORT, lambda name=name: tell_report(world, name)))
        yield


def roll_out(world: World, name: str) -> None:
    """Makes the one server of a Deployment anew, as its controller and a kubelet do."""
    owner = world.wait_for("deployments", name)
    if world.get("pods", f"{name}-0") is not None:
        world.delete("pods", f"{name}-0")
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": f"{name}-1", "uid": "set"}}
    world.make_pod(replica_set, owner["spec"]["template"], f"{name}-0", {"pod-template-hash": "1"})
    world.run_pod(f"{name}-0", ADDRESSES[name])
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": timestamp()}]
    world.patch("pods", f"{name}-0", {"status": {"conditions": ready}}, "/status")
    generation = owner["metadata"]["generation"]
    counts = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    world.patch("deployments", name, {"status": counts}, "/status")


def arguments(world: World, name: str) -> list[str]:
    return list(world.wait_for("deployments", name)["spec"]["template"]["spec"]["containers"][0]["args"])


@pytest.mark.usefixtures("operator", "servers")
def test_only_a_canary_that_is_good_enough_takes_over(world: World) -> None:
    world.create(KIND, deployment(**canary()))
    verify(world, served())
    roll_out(world, "bot")
    world.wait_for_condition("bot", "Evaluated", "True", "Evaluated", KIND)
    before = world.wait_for("deployments", "bot")

    world.patch(KIND, "bot", {"spec": {"runtime": {"maxModelLen": 512}, "replicas": 1}})
    roll_out(world, "bot-canary")
    stalled = world.wait_for_condition("bot", "Stalled", "True", "WorseThanPrevious", KIND)
    assert "scores 0.4" in stalled["message"]
    assert "scores 0.7" in stalled["message"]
    world.wait("the end of the canary", lambda: world.get("deployments", "bot-canary") is None)
    held = world.wait_for("deployments", "bot")
    assert held["metadata"]["generation"] == before["metadata"]["generation"]

    world.delete("pods", "bot-canary-0")
    world.patch(KIND, "bot", {"spec": {"rollout": {"compareWith": "None", "minimumScore": 0.3}}})
    roll_out(world, "bot-canary")
    world.wait_for_condition("bot", "Promoted", "True", "CanaryPromoted", KIND)
    world.wait("the roll-out", lambda: "512" in arguments(world, "bot"))
    world.wait("the end of the canary", lambda: world.get("deployments", "bot-canary") is None)
    roll_out(world, "bot")
    world.wait_for_condition("bot", "Ready", "True", None, KIND)
    status = (world.get(KIND, "bot") or {})["status"]
    assert (status["evaluation"]["score"], status["rollout"]["outcome"]) == (0.4, "Promoted")
