"""A CustomizationJob from apply to artifact, on a real apiserver, under the operator's own rights."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from customizer_contract.errors import ExitCode, Reason
from customizer_contract.progress import PROGRESS_PORT, Progress
from tests.api.conftest import Operator
from tests.api.world import World
from tests.support import samples

pytestmark = pytest.mark.usefixtures("operator")


def begin(world: World, **spec: object) -> None:
    world.create("customizationjobs", samples.job(**spec))
    world.pass_preflight("tickets", samples.passed())
    world.wait_for_condition("tickets", "DatasetReady")


def start_attempt(world: World, number: int) -> list[str]:
    pods = world.make_workers(f"tickets-a{number}")
    for pod in pods:
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")
    return pods


def test_a_job_runs_from_apply_to_artifact(world: World) -> None:
    begin(world)
    first, second = start_attempt(world, 1)
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.wait_for_condition("tickets", "Complete")
    status = world.get("customizationjobs", "tickets")["status"]
    assert status["artifact"]["manifestDigest"] == samples.DIGEST
    assert status["plan"]["totalSteps"] == 10
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["Succeeded"]
    assert status["warnings"] == ["3 rows are duplicates"]
    assert status["state"] == "Complete"


def test_every_object_belongs_to_the_job_and_is_immutable_where_it_can_be(world: World) -> None:
    begin(world)
    config = world.wait_for("configmaps", "tickets")
    assert config["immutable"]
    for plural, name in (("configmaps", "tickets"), ("jobs", "tickets-preflight"), ("pytorchjobs", "tickets-a1")):
        owner = world.wait_for(plural, name)["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("CustomizationJob", True, True)
    assert "finalizers" not in world.get("customizationjobs", "tickets")["metadata"]


def test_a_crash_leads_to_a_second_attempt_only_when_the_pods_of_the_first_are_gone(world: World) -> None:
    begin(world)
    first, second = start_attempt(world, 1)
    world.end_pod(second, 1, samples.failed(Reason.CRASHED, "boom"))
    world.end_pod(first, 1)
    world.set_training_job("tickets-a1", "Failed")
    attempts = world.wait("the end of attempt 1", lambda: _ended(world, 1))
    assert attempts[0]["outcome"] == "Failed"
    assert attempts[0]["message"] == "boom"
    world.wait("attempt 2", lambda: world.get("pytorchjobs", "tickets-a2"), patience=30)


def _ended(world: World, count: int) -> list[dict[str, object]] | None:
    attempts = (world.get("customizationjobs", "tickets").get("status") or {}).get("attempts", [])
    ended = [attempt for attempt in attempts if "outcome" in attempt]
    return ended if len(ended) >= count else None


def test_what_will_fail_again_is_not_tried_again(world: World) -> None:
    begin(world)
    first, second = start_attempt(world, 1)
    world.end_pod(first, ExitCode.BAD_INPUT, samples.failed(Reason.TRAINING_DIVERGED, "The loss is NaN."))
    world.end_pod(second, 1)
    world.set_training_job("tickets-a1", "Failed")
    condition = world.wait_for_condition("tickets", "Failed", reason="TrainingDiverged")
    assert "The loss is NaN." in condition["message"]
    assert world.get("pytorchjobs", "tickets-a2") is None


def test_a_bad_record_is_named_before_anything_is_trained(world: World) -> None:
    world.create("customizationjobs", samples.job())
    pod = world.make_preflight_pod("tickets")
    problem = samples.failed(Reason.DATASET_INVALID, "prompt is missing.", file="train.jsonl", line=17, field="prompt")
    world.end_pod(pod, ExitCode.BAD_INPUT, problem)
    now = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "x"}
    times = {"startTime": "2026-01-01T00:00:00Z"}
    world.patch(
        "jobs",
        "tickets-preflight",
        {"status": {**times, "failed": 1, "conditions": [{**now, "type": "FailureTarget"}, now]}},
        "/status",
    )
    condition = world.wait_for_condition("tickets", "Failed", reason="DatasetInvalid")
    assert "train.jsonl:17 (field prompt): prompt is missing." in condition["message"]
    assert world.all("pytorchjobs") == []


def test_suspend_stops_the_attempt_and_resume_starts_the_next_one_without_preflight(world: World) -> None:
    begin(world)
    pods = start_attempt(world, 1)
    world.patch("customizationjobs", "tickets", {"spec": {"suspend": True}})
    world.wait("PyTorchJob a1 to go", lambda: world.get("pytorchjobs", "tickets-a1") is None)
    for pod in pods:  # what the garbage collector does
        world.delete("pods", pod)
    world.wait_for_condition("tickets", "Suspended")
    world.delete("jobs", "tickets-preflight")
    world.patch("customizationjobs", "tickets", {"spec": {"suspend": False}})
    world.wait_for("pytorchjobs", "tickets-a2")
    assert world.get("jobs", "tickets-preflight") is None
    status = world.get("customizationjobs", "tickets")["status"]
    assert status["attempts"][0]["outcome"] == "Suspended"


def test_a_worker_that_was_deleted_and_made_anew_ends_the_attempt(world: World) -> None:
    begin(world)
    pods = start_attempt(world, 1)
    time.sleep(1.1)  # creation times have seconds
    world.delete("pods", pods[1])
    world.wait("PyTorchJob a1 to go", lambda: world.get("pytorchjobs", "tickets-a1") is None)
    assert world.get("pytorchjobs", "tickets-a2") is None
    world.delete("pods", pods[0])
    world.wait_for("pytorchjobs", "tickets-a2")
    attempt = world.get("customizationjobs", "tickets")["status"]["attempts"][0]
    assert (attempt["outcome"], attempt["reason"]) == ("Preempted", "WorkerLost")


def test_an_operator_that_was_killed_is_followed_by_one_that_goes_on(
    world: World, operator: Operator, start_operator: Callable[[], Operator]
) -> None:
    begin(world)
    first, second = start_attempt(world, 1)
    operator.kill()
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    start_operator()
    world.wait_for_condition("tickets", "Complete")
    assert len(world.all("pytorchjobs")) == 1


def test_at_rest_nothing_is_written(world: World) -> None:
    begin(world)
    start_attempt(world, 1)
    time.sleep(1)
    before = _versions(world)
    time.sleep(13)
    assert _versions(world) == before


def test_what_the_apiserver_refuses_is_told_and_tried_again(world: World) -> None:
    with world.forbid_pytorchjobs("No training on Sundays."):
        world.create("customizationjobs", samples.job())
        world.pass_preflight("tickets", samples.passed())
        event = world.wait("an event", lambda: [e for e in world.all("events") if e["reason"] == "Refused"])[0]
        assert "No training on Sundays." in event["message"]
        world.wait("a status", lambda: world.get("customizationjobs", "tickets")["status"]["state"] == "Stalled")
    world.wait("attempt 1", lambda: world.get("pytorchjobs", "tickets-a1"), patience=40)


def test_nobody_but_the_operator_writes_and_it_writes_nothing_but_status(world: World) -> None:
    begin(world)
    metadata = world.get("customizationjobs", "tickets")["metadata"]
    assert "annotations" not in metadata
    assert "finalizers" not in metadata
    written = {(entry["manager"], entry.get("subresource", "")) for entry in metadata["managedFields"]}
    assert {entry for entry in written if entry[0] == "customizer"} == {("customizer", "status")}
    assert not any("kopf" in manager.lower() for manager, _ in written)


def test_progress_comes_from_rank_0(world: World) -> None:
    begin(world)
    answer = Progress(
        phase="Training", attempt=1, step=4, total_steps=10, epoch=0.4, train_loss=1.25, updated_at=datetime.now(UTC)
    )
    with serve_progress(answer.to_json()) as address:
        for pod in world.make_workers("tickets-a1"):
            world.run_pod(pod, address)
        world.wait("progress", lambda: (world.get("customizationjobs", "tickets")["status"]).get("progress"))
    table = world.plane.kubectl("get", "cjob", "-n", world.namespace)
    assert "Training" in table
    assert "4/10" in table
    assert "1.250" in table


@contextmanager
def serve_progress(body: str) -> Iterator[str]:
    """Answers as rank 0 does, on an address of the loopback network."""

    class Rank0(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.77", PROGRESS_PORT), Rank0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "127.0.0.77"
    server.shutdown()
    server.server_close()


def _versions(world: World) -> dict[str, str]:
    plurals = ("customizationjobs", "pytorchjobs", "jobs", "configmaps", "pods", "events")
    return {
        f"{plural}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for plural in plurals
        for item in world.all(plural)
    }


@pytest.mark.parametrize(
    ("waiting", "message", "reason", "words"),
    [
        ("CreateContainerConfigError", 'secret "s3" not found', "SecretMissing", "Secret s3 does not exist"),
        ("ImagePullBackOff", "Back-off pulling image", "ImageUnavailable", "cannot be pulled"),
        (
            "CreateContainerConfigError",
            "couldn't find key AWS_ACCESS_KEY_ID in Secret ns/s3",
            "SecretMissing",
            "Secret s3 has no key AWS_ACCESS_KEY_ID",
        ),
    ],
    ids=["secret", "image", "key"],
)
def test_what_a_pod_waits_for_is_told_and_goes_away(
    world: World, waiting: str, message: str, reason: str, words: str
) -> None:
    world.create("customizationjobs", samples.job())
    pod = world.make_preflight_pod("tickets")
    world.block_pod(pod, waiting, message)
    condition = world.wait_for_condition("tickets", "Stalled", reason=reason)
    assert words in condition["message"]
    world.end_pod(pod, 0, samples.passed())
    world.wait_for_condition("tickets", "Stalled", "False")
