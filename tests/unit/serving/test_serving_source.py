"""Which job's artifact is served, what outlives a job, and what is changed while something else is waited for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from customizer_contract.result import ArtifactReference
from customizer_operator.api.base import Object
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.plan.plan import DEPLOYMENT, NETWORK_POLICY, SERVICE
from customizer_operator.plan.serving_source import choose_job
from tests.unit.serving.world import (
    ADAPTER,
    ARTIFACT,
    DIGEST,
    IMAGES,
    REFUSAL,
    World,
    build_deployment,
    build_job,
    condition,
    publish,
    served,
)

LATER_DIGEST = "b" * 64
LATER = ADAPTER.model_copy(update={"uri": "s3://demo/later", "manifest_digest": LATER_DIGEST})
PATTERN: Object = {"customizationJobRef": {"name": "tickets*"}}


def made_on(day: int, job: Object, name: str = "tickets", **spec: Any) -> Object:
    """Dates a job, and names it."""
    metadata = {**job["metadata"], "name": name, "creationTimestamp": f"2026-01-{day:02d}T00:00:00Z"}
    return {**job, "metadata": metadata, "spec": {**job["spec"], **spec}}


def digest_of(status: Object) -> str:
    return str(status["artifact"]["manifestDigest"])


def follow(**reference: Any) -> World:
    """Returns a world that serves what `tickets` of the first day has published."""
    model = {"customizationJobRef": {"name": "tickets*", **reference}}
    world = World(build_deployment(model=model), made_on(1, publish(ADAPTER)), ADAPTER, ["tickets", "tickets-base"])
    assert digest_of(world.settle()) == DIGEST
    return world


def let_publish(world: World, artifact: ArtifactReference, day: int, name: str, **spec: Any) -> None:
    """Adds a job that has published."""
    world.more_jobs[name] = made_on(day, publish(artifact), name, **spec)
    world.verdict = artifact


def test_a_later_artifact_takes_over_only_where_promotion_is_not_manual() -> None:
    later = ADAPTER.model_copy(update={"manifest_digest": LATER_DIGEST})
    for promotion, digest in (("OnSuccess", LATER_DIGEST), ("Manual", DIGEST)):
        world = served(model={"customizationJobRef": {"name": "tickets", "promotion": promotion}})
        world.job, world.verdict = publish(later), later
        assert digest_of(world.settle()) == digest


def test_what_another_release_has_told_of_a_job_keeps_nobody_from_serving_it() -> None:
    job = publish(ADAPTER)
    odd = {**job["status"], "plan": {"placement": [{"required": True}]}, "mood": "serene"}
    world = World(build_deployment(), {**job, "status": odd}, ADAPTER, ["tickets", "tickets-base"])
    status = world.settle()
    assert (status["state"], digest_of(status)) == ("Ready", DIGEST)


def test_a_digest_promotes_by_hand_and_takes_back() -> None:
    world = follow(promotion="Manual")
    let_publish(world, LATER, 2, "tickets-2")
    assert digest_of(world.settle()) == DIGEST
    for artifact in (LATER, ADAPTER):
        world.verdict = artifact
        pinned = {"name": "tickets*", "promotion": "Manual", "manifestDigest": artifact.manifest_digest}
        world.change(model={"customizationJobRef": pinned})
        status = world.settle()
        assert (status["state"], digest_of(status), status["artifact"]["uri"]) == (
            "Ready",
            artifact.manifest_digest,
            artifact.uri,
        )


def test_a_digest_that_nobody_has_published_is_named() -> None:
    world = follow(promotion="Manual", manifestDigest=DIGEST)
    world.change(model={"customizationJobRef": {"name": "tickets*", "promotion": "Manual", "manifestDigest": "c" * 64}})
    status = world.settle()
    assert (status["state"], condition(status, "Stalled")) == ("Degraded", ("True", "ManifestNotFound"))
    assert "has published manifest cccccccccccc" in status["message"]
    assert digest_of(status) == DIGEST


def test_a_pinned_artifact_keeps_its_own_base_whatever_later_jobs_train() -> None:
    world = follow(promotion="Manual")
    before = world.get(DEPLOYMENT, "bot")["spec"]
    let_publish(world, LATER, 2, "tickets-2", model={"s3": {"uri": "s3://demo/otherbase"}})
    world.settle()
    assert world.get(DEPLOYMENT, "bot")["spec"] == before


def test_when_the_newest_job_is_deleted_an_older_one_does_not_come_back() -> None:
    world = follow()
    let_publish(world, LATER, 2, "tickets-2")
    assert digest_of(world.settle()) == LATER_DIGEST
    world.verdict = ADAPTER
    del world.more_jobs["tickets-2"]
    status = world.settle()
    assert (status["state"], digest_of(status)) == ("Ready", LATER_DIGEST)
    assert status["source"]["job"] == "tickets-2"


def test_a_named_job_may_be_an_older_one() -> None:
    world = follow()
    let_publish(world, LATER, 2, "tickets-2")
    world.settle()
    world.verdict = ADAPTER
    world.change(model={"customizationJobRef": {"name": "tickets"}})
    assert digest_of(world.settle()) == DIGEST


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(None, id="it is deleted"),
        pytest.param(made_on(3, build_job(state="Training")), id="it is made anew and has not published"),
        pytest.param(
            made_on(3, build_job(conditions=[{
                "type": "Failed", "status": "True", "reason": "TrainingDiverged", "message": "It diverged.",
                "lastTransitionTime": "2026-01-03T00:00:00Z",
            }])),
            id="it is made anew and fails",
        ),
    ],
)  # fmt: skip
def test_the_artifact_outlives_the_job_that_made_it_and_its_servers_can_be_changed(job: Object | None) -> None:
    world = follow()
    world.job = job
    assert world.settle()["state"] == "Ready"
    world.change(replicas=3, runtime={"type": "VLLM", "maxModelLen": 512})
    status = world.settle()
    assert (status["state"], status["readyReplicas"], digest_of(status)) == ("Ready", 3, DIGEST)
    deployment = world.get(DEPLOYMENT, "bot")["spec"]
    (server,) = deployment["template"]["spec"]["containers"]
    assert "--max-model-len" in server["args"]
    assert DIGEST in deployment["template"]["metadata"]["annotations"][FILE_ANNOTATION]
    world.change(suspend=True)
    assert world.settle()["state"] == "Stopped"
    assert world.get(DEPLOYMENT, "bot")["spec"]["replicas"] == 0


def refuse_next(world: World) -> None:
    """Another artifact is asked for, and refused."""
    world.verdict = REFUSAL
    world.change(model={"artifact": {"uri": "s3://demo/next"}})


def take_image(world: World) -> None:
    """The operator has no image for the runtime any more."""
    world.images = type(IMAGES)(io="io:1", automodel="automodel:1", unsloth="unsloth:1")


@pytest.mark.parametrize("stop", [refuse_next, take_image])
def test_servers_can_be_stopped_while_what_is_wanted_cannot_be_served(stop: Any) -> None:
    world = served(**ARTIFACT)
    template = world.get(DEPLOYMENT, "bot")["spec"]["template"]
    stop(world)
    world.settle()
    world.change(suspend=True)
    status = world.settle()
    held = world.get(DEPLOYMENT, "bot")["spec"]
    assert (held["replicas"], held["template"]) == (0, template)
    assert (condition(status, "Stalled")[0], condition(status, "Available")[0]) == ("True", "False")
    world.change(suspend=False, replicas=2)
    assert world.settle()["readyReplicas"] == 2


def test_what_stands_around_the_servers_does_not_wait_for_an_artifact_that_is_refused() -> None:
    world = served(**ARTIFACT, networkPolicy={"allowFrom": [{"podLabels": {"app": "client"}}]})
    refuse_next(world)
    world.settle()
    world.change(service={"port": 9000}, networkPolicy={"allowFrom": []})
    world.settle()
    assert world.get(SERVICE, "bot")["spec"]["ports"][0]["port"] == 9000
    (rule, *_) = world.get(NETWORK_POLICY, "bot")["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [
        {"app.kubernetes.io/name": "customizer-operator"}
    ]
    world.change(networkPolicy=None)
    world.settle()
    assert (NETWORK_POLICY, "bot") not in world.objects


@pytest.mark.parametrize(
    ("jobs", "chosen"),
    [
        pytest.param([("j-a", 1, True), ("j-b", 2, True)], "j-b", id="the newest"),
        pytest.param([("j-a", 1, True), ("j-b", 2, False)], "j-a", id="not before it has published"),
        pytest.param([("j-a", 1, False), ("j-b", 2, False)], "j-b", id="the newest is waited for"),
    ],
)
def test_of_several_jobs_the_newest_that_has_published_is_served(jobs: list[Any], chosen: str) -> None:
    items = [made_on(day, publish(ADAPTER) if published else build_job(), name) for name, day, published in jobs]
    found = choose_job(items)
    assert found is not None
    assert found["metadata"]["name"] == chosen


def test_jobs_of_other_names_are_not_meant() -> None:
    world = follow()
    let_publish(world, LATER, 2, "other")
    assert digest_of(world.settle()) == DIGEST


def test_when_the_job_was_created_is_told() -> None:
    source = follow().subject["status"]["source"]
    assert datetime.fromisoformat(source["createdAt"]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert (source["job"], source["device"], source["model"]["s3"]) == ("tickets", "cpu", {"uri": "s3://demo/base"})
