"""Adapters that come and go while servers run, played against a simulated cluster."""

from typing import Any

import pytest

from customizer_contract.adapters import AdapterReport, ProbeReport, Wish
from customizer_contract.errors import Reason
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.objects.serving_companions import build_companions
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.objects.serving_sidecar import WISH_ANNOTATION
from customizer_operator.plan.plan import DEPLOYMENT, POD
from tests.unit.serving.world import ADAPTER, DIGEST, World, build_deployment, build_job, condition, publish

BASE: Object = {"model": {"s3": {"uri": "s3://demo/base"}}, "objectStorage": {"endpointUrl": "http://s3:7070"}}
ROOM: Object = {"runtime": {"type": "VLLM", "lora": {}}}
FRENCH: Object = {"name": "french", "artifact": {"uri": "s3://demo/french"}}
FROM_JOB: Object = {"name": "routing", "customizationJobRef": {"name": "tickets"}}


def build_world(*adapters: Object, replicas: int = 1) -> World:
    """Returns a world in which the base model of `bot` is served, with these adapters wished."""
    world = World(build_deployment(**BASE, **ROOM, adapters=list(adapters), replicas=replicas), listed=["bot"])
    world.verdict = None
    world.step()
    return world


def serve(*adapters: Object, **parts: Any) -> World:
    """Returns the same, settled."""
    world = build_world(*adapters, **parts)
    world.verdict = Result(command="verify")
    world.settle()
    return world


def wished(world: World, pod: str = "bot-0") -> list[str]:
    """Names the adapters that a pod was told of."""
    annotation = world.get(POD, pod)["metadata"]["annotations"][WISH_ANNOTATION]
    return [adapter.name for adapter in Wish.model_validate_json(annotation).adapters]


def test_an_adapter_is_added_and_removed_without_touching_the_deployment() -> None:
    world = serve()
    before = world.get(DEPLOYMENT, "bot")["spec"]
    assert condition(world.subject["status"], "AdaptersReady") == ("True", "AdaptersAnswer")
    world.change(adapters=[FRENCH])
    status = world.settle()
    assert status["adapters"] == [
        {
            "name": "french",
            "ready": "1/1",
            "uri": "s3://demo/french",
            "manifestDigest": DIGEST,
            "endpoint": "/v1/completions",
        }
    ]
    assert (status["state"], condition(status, "Ready")[0], wished(world)) == ("Ready", "True", ["french"])
    world.change(adapters=[])
    status = world.settle()
    assert ("adapters" in status, status["state"], wished(world)) == (False, "Ready", [])
    assert world.get(DEPLOYMENT, "bot")["spec"] == before


def test_a_pod_that_is_new_is_told_at_once() -> None:
    world = serve(FRENCH, replicas=2)
    assert wished(world, "bot-1") == ["french"]
    world.remove(POD, "bot-1")
    world.settle()
    assert wished(world, "bot-1") == ["french"]
    assert world.subject["status"]["adapters"][0]["ready"] == "2/2"


@pytest.mark.parametrize(
    ("report", "state", "reason"),
    [
        pytest.param(
            {"state": "Refused", "reason": Reason.ADAPTER_INCOMPATIBLE, "message": "Its rank is 64."},
            "Degraded",
            "AdapterIncompatible",
            id="one that does not fit is told with its reason",
        ),
        pytest.param({"state": "Loading"}, "Updating", "AdaptersLoading", id="one that is on its way is waited for"),
        pytest.param(
            {"state": "Loading", "reason": Reason.STORAGE_UNAVAILABLE, "message": "No answer."},
            "Updating",
            "StorageUnavailable",
            id="one that cannot be reached is tried again",
        ),
    ],
)
def test_one_adapter_harms_no_other(report: dict[str, Any], state: str, reason: str) -> None:
    world = serve(FRENCH)
    world.adapters["german"] = AdapterReport(name="german", **report)
    world.change(adapters=[FRENCH, {"name": "german", "artifact": {"uri": "s3://demo/german"}}])
    status = world.settle()
    assert [adapter["ready"] for adapter in status["adapters"]] == ["1/1", "0/1"]
    assert (status["state"], status["adapters"][1]["reason"]) == (state, reason)
    assert condition(status, "AdaptersReady")[0] == condition(status, "Ready")[0] == "False"
    assert condition(status, "Available")[0] == "True"
    assert condition(status, "Stalled")[0] == ("True" if state == "Degraded" else "False")
    assert "german" in status["message"]


def test_an_adapter_waits_for_its_job_and_outlives_it() -> None:
    world = serve(FROM_JOB)
    status = world.subject["status"]
    assert (status["state"], status["adapters"][0]["reason"]) == ("Degraded", "JobNotFound")
    world.job = build_job(state="Training")
    status = world.settle()
    assert (status["state"], status["adapters"][0]["reason"]) == ("Updating", "JobNotComplete")
    assert "which is Training" in status["message"]
    world.job = publish(ADAPTER)
    assert world.settle()["state"] == "Ready"
    world.job = None
    status = world.settle()
    assert (status["state"], status["adapters"][0]["ready"], wished(world)) == ("Ready", "1/1", ["routing"])


def test_an_adapter_may_not_have_the_name_of_the_model() -> None:
    world = serve({**FRENCH, "name": "bot"})
    status = world.subject["status"]
    assert status["adapters"][0]["reason"] == "AdapterNameTaken"
    assert wished(world) == []


def test_an_adapter_in_another_store_is_refused() -> None:
    world = World(build_deployment(**ROOM, model=BASE["model"], adapters=[FROM_JOB]), publish(ADAPTER), listed=["bot"])
    world.verdict = Result(command="verify")
    assert world.settle()["adapters"][0]["reason"] == "AnotherStore"


def test_a_server_that_was_started_with_an_adapter_takes_others_beside_it() -> None:
    world = World(
        build_deployment(**ROOM, adapters=[FRENCH]), publish(ADAPTER), ADAPTER, listed=["tickets", "tickets-base"]
    )
    assert world.settle()["state"] == "Ready"
    template = world.get(DEPLOYMENT, "bot")["spec"]["template"]
    sidecar = Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION]).sidecar
    assert sidecar is not None
    assert sidecar.lora is not None
    assert (sidecar.staged, sidecar.lora.loading, sidecar.lora.max_rank) == ("tickets", "Call", 32)
    assert [container["name"] for container in template["spec"]["initContainers"]] == ["stage", "sidecar"]


def test_only_the_operator_may_ask_a_sidecar_behind_a_network_policy() -> None:
    world = World(build_deployment(**BASE, **ROOM, networkPolicy={"allowFrom": [{"podLabels": {"app": "web"}}]}))
    deployment = ModelDeployment.model_validate(world.subject)
    (policy,) = [item for item in build_companions(deployment, "platform") if item["kind"] == "NetworkPolicy"]
    server, sidecar = policy["spec"]["ingress"]
    assert (len(server["from"]), len(sidecar["from"])) == (2, 1)
    # Its labels alone are no proof: anybody may give them to a pod.
    assert sidecar["from"][0] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "platform"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "customizer-operator"}},
    }
    assert sidecar["ports"] == [{"port": 8085, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("answer", "state", "ready", "reason"),
    [
        pytest.param(None, "Updating", "False", "Probing", id="before the answer"),
        pytest.param(ProbeReport(passed=True, answer="Paris"), "Ready", "True", "ReplicasAnswer", id="as expected"),
        pytest.param(
            ProbeReport(passed=False, answer="Rome", message="The answer does not hold 'Paris'."),
            "Degraded",
            "False",
            "ProbeFailed",
            id="otherwise",
        ),
    ],
)
def test_ready_means_that_every_server_answers_as_expected(
    answer: ProbeReport | None, state: str, ready: str, reason: str
) -> None:
    world = World(
        build_deployment(runtime={"type": "VLLM"}, probe={"prompt": "The capital?", "expectedText": "Paris"}),
        publish(ADAPTER),
        ADAPTER,
        listed=["tickets", "tickets-base"],
        answer=answer,
    )
    status = world.settle()
    assert (status["state"], condition(status, "Ready")) == (state, (ready, reason))
    assert status["probe"]["passed"] == ("1/1" if ready == "True" else "0/1")
    annotation = world.get(POD, "bot-0")["metadata"]["annotations"][WISH_ANNOTATION]
    probe = Wish.model_validate_json(annotation).probe
    assert probe is not None
    assert (probe.model, probe.expected_text) == ("tickets", "Paris")
    if answer is not None and not answer.passed:
        assert "It answered 'Rome'." in status["message"]
    assert "AdaptersReady" not in {entry["type"] for entry in status["conditions"]}
