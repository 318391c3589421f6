"""The life of a ModelDeployment, played against a simulated cluster until nothing changes any more."""

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.result import Result
from customizer_operator.objects.images import Images
from customizer_operator.plan.plan import DEPLOYMENT, JOB, POD
from tests.unit.serving.world import (
    ADAPTER,
    ARTIFACT,
    IMAGES,
    MODEL,
    REFUSAL,
    World,
    build_deployment,
    build_job,
    condition,
    publish,
    served,
)


@pytest.mark.parametrize(
    ("job", "state", "reason", "stalled", "message"),
    [
        pytest.param(None, "Failed", "JobNotFound", "True", "no CustomizationJob tickets", id="a job that is missing"),
        pytest.param(build_job(), "Waiting", "JobNotComplete", "False", "Waits for", id="a job that is new"),
        pytest.param(
            build_job(state="Training"), "Waiting", "JobNotComplete", "False", "which is Training", id="a job that runs"
        ),
        pytest.param(
            build_job(
                state="Failed",
                message="The data are empty.",
                conditions=[
                    {
                        "type": "Failed",
                        "status": "True",
                        "reason": "DatasetEmpty",
                        "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                        "observedGeneration": 1,
                    }
                ],
            ),
            "Failed",
            "JobFailed",
            "True",
            "The data are empty. Create it anew",
            id="a job that failed",
        ),
    ],
)
def test_it_waits_for_its_job(job: Any, state: str, reason: str, stalled: str, message: str) -> None:
    world = World(build_deployment(), job)
    status = world.settle()
    assert (status["state"], condition(status, "Ready")) == (state, ("False", reason))
    assert condition(status, "Stalled")[0] == stalled
    assert message in status["message"]
    assert world.objects == {}
    assert "url" not in status


def test_a_later_success_of_the_job_goes_on_from_there() -> None:
    world = World(build_deployment(), build_job(state="Failed"), ADAPTER, listed=["tickets", "tickets-base"])
    world.settle()
    world.job = publish(ADAPTER)
    assert world.settle()["state"] == "Ready"


def test_an_adapter_is_served_beside_its_base() -> None:
    world = served()
    status = world.subject["status"]
    assert status["models"] == [
        {"name": "tickets", "kind": "adapter", "endpoint": "/v1/completions"},
        {"name": "tickets-base", "kind": "base", "endpoint": "/v1/completions"},
    ]
    assert status["url"] == "http://bot.team.svc:8000"
    assert status["readyReplicas"] == 1
    for kind in ("ArtifactVerified", "Available", "Ready"):
        assert condition(status, kind)[0] == "True"
    for kind in ("Progressing", "Reconciling", "Stalled"):
        assert condition(status, kind)[0] == "False"


def test_a_full_model_is_served_alone_and_asked_by_chat_if_trained_so() -> None:
    world = World(build_deployment(), publish(MODEL), MODEL, listed=["tickets"])
    assert world.settle()["models"] == [{"name": "tickets", "kind": "model", "endpoint": "/v1/chat/completions"}]


def test_a_base_model_is_served_under_the_name_of_the_deployment() -> None:
    world = World(build_deployment(model={"s3": {"uri": "s3://demo/base"}}), listed=["bot"])
    world.verdict = Result(command="verify")
    status = world.settle()
    assert status["models"] == [{"name": "bot", "kind": "base"}]
    assert "artifact" not in status


def test_a_server_that_nodes_may_not_know_of_yet_is_waited_for() -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER)
    world.settle()
    world.listed, world.ready_at = ["tickets", "tickets-base"], world.now + timedelta(seconds=4)
    world.step()
    plan = world.step()
    status = world.subject["status"]
    assert (condition(status, "Available")[0], condition(status, "Ready")[0]) == ("False", "False")
    assert plan.requeue_after == 3.0
    world.step()
    assert world.subject["status"]["state"] == "Ready"


def test_a_node_whose_clock_is_ahead_is_not_waited_for() -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER, listed=["tickets", "tickets-base"])
    world.ready_at = world.now + timedelta(hours=1)
    assert world.settle()["state"] == "Ready"


@pytest.mark.parametrize("wait", ["verdict", "listed"])
def test_nothing_is_ready_before_it_answers(wait: str) -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER, listed=["tickets", "tickets-base"])
    setattr(world, wait, None)
    status = world.settle()
    assert condition(status, "Ready")[0] == "False"
    assert condition(status, "Reconciling")[0] == "True"
    assert ((DEPLOYMENT, "bot") in world.objects) == (wait == "listed")


@pytest.mark.parametrize(("verdict", "missing"), [(None, (JOB, "bot-verify")), (ADAPTER, (DEPLOYMENT, "bot"))])
def test_what_the_apiserver_refuses_stalls_until_it_is_taken(verdict: Any, missing: Any) -> None:
    world = World(build_deployment(), publish(ADAPTER), verdict, listed=["tickets", "tickets-base"])
    if verdict is not None:
        world.step()
    world.refusal = "No servers on Sundays."
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "Refused")
    assert "No servers on Sundays. Correct the spec" in status["message"]
    assert missing not in world.objects
    world.refusal, world.verdict = None, ADAPTER
    assert world.settle()["state"] == "Ready"


def test_a_server_that_lists_another_name_is_not_ready() -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER, listed=["tickets-base"])
    status = world.settle()
    assert condition(status, "Ready")[0] == "False"
    assert status["message"] == "A server answers but does not list tickets."


def test_what_is_refused_is_never_served_and_says_why() -> None:
    world = World(build_deployment(**ARTIFACT), verdict=REFUSAL)
    status = world.settle()
    assert (status["state"], condition(status, "ArtifactVerified")) == ("Failed", ("False", "ArtifactInvalid"))
    assert condition(status, "Stalled") == ("True", "ArtifactInvalid")
    assert "weights.bin is missing" in status["message"]
    assert (DEPLOYMENT, "bot") not in world.objects


def test_what_is_refused_is_verified_again_and_stays_refused_until_the_answer() -> None:
    world = World(build_deployment(**ARTIFACT), verdict=REFUSAL)
    refused = world.settle()
    world.remove(JOB, "bot-verify")
    world.verdict = None
    assert world.settle()["conditions"] == refused["conditions"]
    world.verdict, world.listed = ADAPTER, ["tickets", "tickets-base"]
    assert world.settle()["state"] == "Ready"


def test_what_was_verified_is_not_verified_again_when_the_job_is_gone() -> None:
    world = served()
    world.remove(JOB, "bot-verify")
    world.settle()
    assert (JOB, "bot-verify") not in world.objects


def test_a_result_that_was_lost_with_its_pod_is_asked_for_again() -> None:
    world = World(build_deployment(**ARTIFACT), verdict=ADAPTER)
    world.step()
    world.remove(POD, "bot-verify-x")
    world.verdict = None
    world.step()
    assert (JOB, "bot-verify") not in world.objects


def test_another_artifact_replaces_the_servers_only_when_it_is_verified() -> None:
    world = served(**ARTIFACT)
    before = world.get(DEPLOYMENT, "bot")["spec"]
    world.verdict = None
    world.change(model={"artifact": {"uri": "s3://demo/next"}})
    status = world.settle()
    assert status["state"] == "Updating"
    assert condition(status, "Ready")[0] == "False"
    assert condition(status, "Available")[0] == "True"
    assert world.get(DEPLOYMENT, "bot")["spec"] == before
    world.verdict = REFUSAL
    refused = world.settle()
    assert refused["state"] == "Degraded"
    assert refused["message"].endswith("What was served before is served on.")
    assert world.get(DEPLOYMENT, "bot")["spec"] == before
    world.change(model={"artifact": {"uri": "s3://demo/third"}})
    world.verdict = ADAPTER.model_copy(update={"uri": "s3://demo/third", "manifest_digest": "b" * 64})
    assert world.settle()["state"] == "Ready"
    assert world.get(DEPLOYMENT, "bot")["spec"] != before


def test_a_changed_spec_is_not_ready_before_its_own_replicas_are() -> None:
    world = served()
    world.change(runtime={"type": "VLLM", "maxModelLen": 512})
    first = world.step()
    assert first.status is not None
    assert (first.status["observedGeneration"], condition(first.status, "Ready")[0]) == (2, "False")
    assert world.settle()["state"] == "Ready"


def test_replicas_may_be_stopped() -> None:
    world = served()
    world.change(replicas=0)
    status = world.settle()
    assert (status["state"], status["readyReplicas"]) == ("Stopped", 0)
    assert condition(status, "Ready") == ("False", "Stopped")
    assert condition(status, "Reconciling")[0] == "False"


def test_each_turn_of_events_is_told_once() -> None:
    world = served()
    assert [event.reason for plan in world.log for event in plan.events] == ["Verified", "ReplicasAnswer"]


@pytest.mark.parametrize(
    ("images", "rolls"),
    [
        pytest.param(replace(IMAGES, io="io:2"), False, id="a newer release of the operator"),
        pytest.param(replace(IMAGES, vllm="vllm:2"), True, id="a newer image of the server"),
    ],
)
def test_servers_are_restarted_only_for_what_they_serve_with(images: Images, rolls: bool) -> None:
    world = served()
    before = world.get(DEPLOYMENT, "bot")["spec"]
    world.images = images
    world.settle()
    assert (world.get(DEPLOYMENT, "bot")["spec"] != before) == rolls


def test_a_newer_release_stages_what_is_served_next() -> None:
    world = served()
    world.images = replace(IMAGES, io="io:2")
    world.change(runtime={"type": "VLLM", "maxModelLen": 512})
    world.settle()
    (stage,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["initContainers"]
    assert stage["image"] == "io:2"


def test_what_is_served_stays_so_while_its_spec_is_not_understood() -> None:
    world = served()
    before = copy.deepcopy(world.objects)
    world.change(runtime={"type": "VLLM", "ofANewerRelease": True})
    status = world.settle()
    assert world.objects == before
    assert (status["state"], condition(status, "Stalled")) == ("Degraded", ("True", "InvalidSpec"))
    assert condition(status, "Available")[0] == "True"
    assert "install CRDs of the operator's release. What was served before is served on." in status["message"]
    world.change(runtime={"type": "VLLM"})
    assert world.settle()["state"] == "Ready"


def test_nothing_is_served_whose_spec_was_never_understood() -> None:
    world = World(build_deployment(runtime={"type": "VLLM", "ofANewerRelease": True}), None)
    status = world.settle()
    assert (status["state"], condition(status, "Ready")) == ("Failed", ("False", "InvalidSpec"))
    assert world.objects == {}
