"""A CustomizationJob's life in the simulator: what is made when, what is told, and that a crash changes nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.errors import ExitCode, Reason
from customizer_contract.progress import Progress
from customizer_contract.result import Result, TrainingFacts
from customizer_operator.plan.plan import CONFIG_MAP, CUSTOMIZATION_JOB, JOB, POD, PYTORCH_JOB, Resource
from tests.support import samples
from tests.unit.operator.simulator import START, World

NAME = "tickets"


def new_world(**spec: Any) -> World:
    return World(samples.job(NAME, **spec))


def with_dataset(world: World) -> World:
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    return world


def with_running(world: World, number: int = 1) -> list[str]:
    world.settle()
    pods = world.make_workers(number)
    world.run_pods(*pods)
    world.settle()
    assert world.condition("Running") == ("True", "Training")
    return pods


def has(world: World, resource: Resource, name: str) -> bool:
    return (resource, name) in world.objects


def outcomes(world: World) -> list[tuple[str, str]]:
    return [(attempt.get("outcome", ""), attempt.get("reason", "")) for attempt in world.status.get("attempts", ())]


def test_the_job_file_and_preflight_come_first_and_no_gpu_is_held() -> None:
    world = new_world()
    world.settle()
    assert has(world, CONFIG_MAP, NAME)
    assert has(world, JOB, "tickets-preflight")
    assert not has(world, PYTORCH_JOB, "tickets-a1")
    assert world.condition("DatasetReady") == ("Unknown", "PreflightRunning")
    assert world.status["plan"] == {
        "nodes": 2,
        "gpusPerNode": 1,
        "worldSize": 2,
        "tensorParallelSize": 1,
        "pipelineParallelSize": 1,
        "contextParallelSize": 1,
        "expertParallelSize": 1,
        "dataParallelSize": 2,
        "gradientAccumulationSteps": 4,
        "tokensPerStep": 8 * 2048,
        "placement": [{"parallelism": "Shard", "groups": 1, "pods": 2, "domain": "Any"}],
    }


def test_when_preflight_has_passed_the_first_attempt_starts_and_the_steps_are_known() -> None:
    world = with_dataset(new_world())
    assert has(world, PYTORCH_JOB, "tickets-a1")
    assert (world.status["plan"]["stepsPerEpoch"], world.status["plan"]["totalSteps"]) == (10, 10)
    assert world.status["warnings"] == ["3 rows are duplicates"]
    assert world.condition("Admitted") == ("False", "PodsPending")


def test_what_rank_0_publishes_completes_the_job() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.settle()
    assert world.condition("Complete") == ("True", "ArtifactPublished")
    assert world.condition("Published") == ("True", "ArtifactPublished")
    assert world.condition("Reconciling")[0] == world.condition("Stalled")[0] == "False"
    assert outcomes(world) == [("Succeeded", "Succeeded")]


def test_a_finished_job_is_left_alone() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.end_pod(first, 0, samples.trained())
    world.end_pod(second, 0)
    world.settle()
    before = world.status
    world.remove_pods()
    del world.objects[PYTORCH_JOB, "tickets-a1"]
    del world.objects[JOB, "tickets-preflight"]
    world.run(3600)
    assert world.status == before
    assert not has(world, JOB, "tickets-preflight")


def test_a_finished_job_observes_newer_generations() -> None:
    world = with_dataset(new_world())
    first, _ = with_running(world)
    world.end_pod(first, 0, samples.trained())
    world.settle()
    world.set_spec(suspend=True)
    world.settle()
    assert world.status["observedGeneration"] == 2
    assert {entry["observedGeneration"] for entry in world.status["conditions"]} == {2}
    assert world.condition("Complete")[0] == "True"


def test_a_bad_record_fails_the_job_with_its_place() -> None:
    world = new_world()
    world.settle()
    bad = samples.failed(Reason.DATASET_INVALID, "prompt is missing.", file="train.jsonl", line=17, field="prompt")
    world.end_pod(world.make_preflight_pod(), ExitCode.BAD_INPUT, bad)
    world.settle()
    assert world.condition("DatasetReady")[0] == "Unknown"  # the Job decides whether to try again
    world.set_conditions((JOB, "tickets-preflight"), "Failed")
    world.settle()
    assert world.condition("Failed") == ("True", "DatasetInvalid")
    assert world.condition("DatasetReady") == ("False", "DatasetInvalid")
    assert world.condition("Stalled") == ("True", "DatasetInvalid")
    assert world.status["message"] == "DatasetInvalid: train.jsonl:17 (field prompt): prompt is missing."
    assert not has(world, PYTORCH_JOB, "tickets-a1")


def test_a_preflight_whose_words_are_lost_is_repeated() -> None:
    world = new_world()
    world.settle()
    first = world.objects[JOB, "tickets-preflight"]["metadata"]["uid"]
    world.set_conditions((JOB, "tickets-preflight"), "Complete")
    world.settle()
    assert world.objects[JOB, "tickets-preflight"]["metadata"]["uid"] != first


def test_a_crash_is_followed_by_another_attempt_after_a_pause() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.end_pod(first, 1, samples.failed(Reason.CRASHED, "boom"))
    world.end_pod(second, 1)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    world.settle()
    assert outcomes(world) == [("Failed", "Crashed")]
    assert not has(world, PYTORCH_JOB, "tickets-a2")
    world.run(12)
    assert has(world, PYTORCH_JOB, "tickets-a2")
    assert has(world, PYTORCH_JOB, "tickets-a1"), "a finished PyTorchJob stays as a record"


def test_the_pause_doubles_with_each_failure_and_the_last_attempt_fails_the_job() -> None:
    world = with_dataset(new_world(failurePolicy={"maxAttempts": 3}))
    pauses = []
    for number in (1, 2, 3):
        for pod in with_running(world, number):
            world.end_pod(pod, 1)
        world.set_conditions((PYTORCH_JOB, f"tickets-a{number}"), "Failed")
        world.settle()
        ended = world.now
        while number < 3 and not has(world, PYTORCH_JOB, f"tickets-a{number + 1}"):
            world.run(1)
        pauses.append((world.now - ended).total_seconds())
    assert pauses == [10, 20, 0]
    assert world.condition("Failed") == ("True", "MaxAttemptsReached")
    assert "3 of 3 attempts failed" in world.status["message"]


def test_a_raised_limit_does_not_revive_a_failed_job() -> None:
    world = with_dataset(new_world(failurePolicy={"maxAttempts": 1}))
    for pod in with_running(world):
        world.end_pod(pod, 1)
    world.settle()
    world.set_spec(failurePolicy={"maxAttempts": 5})
    world.run(600)
    assert world.condition("Failed")[0] == "True"
    assert not has(world, PYTORCH_JOB, "tickets-a2")


@pytest.mark.parametrize(
    ("take_away", "reason"),
    [
        (lambda world, pod: world.disrupt_pod(pod, "EvictionByEvictionAPI"), "EvictionByEvictionAPI"),
        (lambda world, pod: world.disrupt_pod(pod, "PreemptionByScheduler"), "PreemptionByScheduler"),
        (lambda world, pod: None, "Preempted"),
    ],
    ids=["evicted", "preempted by the scheduler", "told to stop"],
)
def test_what_kubernetes_takes_away_does_not_count_and_is_resumed_at_once(
    take_away: Callable[[World, str], None], reason: str
) -> None:
    world = with_dataset(new_world(failurePolicy={"maxAttempts": 1}))
    first, second = with_running(world)
    take_away(world, second)
    for pod in (second, first):
        world.end_pod(pod, ExitCode.PREEMPTED)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    world.settle()
    assert outcomes(world)[0] == ("Preempted", reason)
    assert has(world, PYTORCH_JOB, "tickets-a2")


def test_a_pod_that_ended_without_a_word_is_quoted_from_its_log() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.logs[second, "pytorch"] = "loading\nHF_TOKEN=hf_abcdefghijkl\nSegmentation fault\n"
    world.end_pod(second, 139)
    world.now += timedelta(seconds=2)
    world.end_pod(first, 1)
    world.run(20)
    attempt = world.status["attempts"][0]
    assert attempt["lastLines"] == "loading\nHF_TOKEN=***\nSegmentation fault"
    assert attempt["message"].endswith("It said last: Segmentation fault")
    assert attempt["failedNode"] == "node-1"


def test_a_node_on_which_two_attempts_failed_is_avoided_by_the_next_one() -> None:
    world = with_dataset(new_world(failurePolicy={"maxAttempts": 5}))
    terms = []
    for number in (1, 2, 3):
        item = world.objects[PYTORCH_JOB, f"tickets-a{number}"]
        affinity = item["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["affinity"]
        terms.append(affinity.get("nodeAffinity"))
        first, second = with_running(world, number)
        world.end_pod(second, 1, samples.failed(Reason.CRASHED))
        world.end_pod(first, 1, samples.failed(Reason.PEER_LOST))
        world.set_conditions((PYTORCH_JOB, f"tickets-a{number}"), "Failed")
        world.run(60)
    assert terms[:2] == [None, None]
    preferred = terms[2]["preferredDuringSchedulingIgnoredDuringExecution"]
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": ["node-1"]}]
    assert preferred == [{"weight": 100, "preference": {"matchFields": fields}}]


def test_a_worker_made_anew_ends_the_attempt_and_the_next_waits_until_all_pods_are_gone() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.now += timedelta(seconds=30)
    world.remove_pods(second)
    world.make_worker(1, 1)
    world.settle()
    assert outcomes(world) == [("Preempted", "WorkerLost")]
    assert not has(world, PYTORCH_JOB, "tickets-a1"), "the record is written, so the rest may go"
    world.run(60)
    assert not has(world, PYTORCH_JOB, "tickets-a2"), "a pod of attempt 1 still saves its checkpoint"
    world.remove_pods(first, second)
    world.settle()
    assert has(world, PYTORCH_JOB, "tickets-a2")


def test_a_worker_made_anew_elsewhere_blames_the_node_that_it_had() -> None:
    world = with_dataset(new_world())
    _, second = with_running(world)
    world.now += timedelta(seconds=30)
    world.remove_pods(second)
    world.make_worker(1, 1)
    world.run_pods(second)  # on node-0
    world.settle()
    assert world.status["attempts"][0]["failedNode"] == "node-1"


def test_a_worker_that_a_quota_lets_in_late_is_not_taken_for_one_made_anew() -> None:
    world = with_dataset(new_world())
    first, second = world.make_workers(1)
    world.remove_pods(second)
    world.run_pods(first)
    world.settle()
    world.run(60)
    world.make_worker(1, 1)
    world.run(30)
    world.run_pods(first, second)
    world.run(60)
    assert outcomes(world) == [("", "")]
    assert world.condition("Running")[0] == "True"


def test_a_worker_made_anew_before_all_ran_ends_the_attempt() -> None:
    world = with_dataset(new_world())
    first, second = world.make_workers(1)
    world.run_pods(first, second)
    world.block_pod(second, "PodInitializing", "")
    world.settle()
    assert world.status["state"] == "Starting"
    world.now += timedelta(seconds=5)
    world.remove_pods(second)
    world.make_worker(1, 1)
    world.settle()
    assert outcomes(world) == [("Preempted", "WorkerLost")]


def test_a_worker_that_vanished_ends_the_attempt() -> None:
    world = with_dataset(new_world())
    _, second = with_running(world)
    world.remove_pods(second)
    world.settle()
    assert outcomes(world) == [("Preempted", "WorkerLost")]


def test_a_pod_on_a_lost_node_does_not_hold_the_job_for_ever() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.remove_pods(second)
    world.settle()
    world.run(120)
    assert (POD, first) in world.objects
    assert not has(world, PYTORCH_JOB, "tickets-a2")
    world.run(120)
    assert has(world, PYTORCH_JOB, "tickets-a2")


@pytest.mark.parametrize("reason", [Reason.PEER_LOST, Reason.COLLECTIVE_TIMEOUT])
def test_nodes_that_are_lost_do_not_count_and_healthy_ones_are_not_blamed(reason: Reason) -> None:
    world = with_dataset(new_world(failurePolicy={"maxAttempts": 1}))
    for number in (1, 2, 3):
        template = world.objects[PYTORCH_JOB, f"tickets-a{number}"]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        assert "nodeAffinity" not in template["spec"]["affinity"]
        first, second = with_running(world, number)
        world.disrupt_pod(second, "DeletionByTaintManager")
        world.stop_pod(second)
        world.end_pod(first, 1, samples.failed(reason))
        world.set_conditions((PYTORCH_JOB, f"tickets-a{number}"), "Failed")
        world.run(60)
        world.remove_pods()
        world.run(60)
    assert outcomes(world) == [*[("Preempted", "DeletionByTaintManager")] * 3, ("", "")]


def test_a_lost_node_ends_the_attempt_though_no_rank_says_so() -> None:
    world = with_dataset(new_world())
    _, second = with_running(world)
    world.disrupt_pod(second, "DeletionByTaintManager")
    world.stop_pod(second)
    world.run(1200)
    assert outcomes(world)[0] == ("Preempted", "WorkerLost")
    assert world.status["attempts"][0]["failedNode"] == "node-1"
    assert has(world, PYTORCH_JOB, "tickets-a2")


def test_a_pytorchjob_deleted_by_hand_is_followed_by_the_next_attempt() -> None:
    world = with_dataset(new_world())
    with_running(world)
    world._delete((PYTORCH_JOB, "tickets-a1"), world.objects[PYTORCH_JOB, "tickets-a1"]["metadata"]["uid"])
    world.remove_pods()
    world.settle()
    assert outcomes(world)[0] == ("Preempted", "TrainingJobDeleted")
    assert has(world, PYTORCH_JOB, "tickets-a2")


def test_suspend_records_first_then_stops_and_resume_starts_the_next_attempt() -> None:
    world = with_dataset(new_world())
    with_running(world)
    world.set_spec(suspend=True)
    world.look()
    assert outcomes(world) == [("Suspended", "Suspended")]
    assert has(world, PYTORCH_JOB, "tickets-a1")
    world.settle()
    assert not has(world, PYTORCH_JOB, "tickets-a1")
    assert world.condition("Suspended") == ("False", "Suspending")
    assert world.status["state"] == "Suspending"
    world.remove_pods()
    world.settle()
    assert world.condition("Suspended") == ("True", "Suspended")
    assert world.condition("Reconciling")[0] == "False"
    world.run(3600)
    del world.objects[JOB, "tickets-preflight"]
    world.set_spec(suspend=False)
    world.settle()
    assert has(world, PYTORCH_JOB, "tickets-a2")
    assert not has(world, JOB, "tickets-preflight"), "preflight is not repeated"


def test_pods_that_were_told_to_stop_still_tell_how_far_they_came() -> None:
    world = with_dataset(new_world())
    first, _ = with_running(world)
    world.set_spec(suspend=True)
    world.settle()
    stopped = Result(command="train", training=TrainingFacts(step=7, total_steps=10, checkpoint_step=7))
    world.end_pod(first, ExitCode.PREEMPTED, stopped.to_json())
    world.settle()
    assert world.status["attempts"][0]["step"] == 7


def test_a_job_is_not_suspended_before_its_last_pod_has_left() -> None:
    world = with_dataset(new_world())
    pods = with_running(world)
    world.set_spec(suspend=True)
    world.settle()
    for pod in pods:
        world.end_pod(pod, ExitCode.PREEMPTED)
    world.settle()
    assert world.condition("Suspended") == ("False", "Suspending")
    world.remove_pods()
    world.settle()
    assert world.condition("Suspended") == ("True", "Suspended")


def test_a_job_that_is_created_suspended_makes_nothing() -> None:
    world = new_world(suspend=True)
    world.run(60)
    assert list(world.objects) == [(CUSTOMIZATION_JOB, NAME)]
    assert world.condition("Suspended") == ("True", "Suspended")


def test_what_was_published_while_suspending_counts() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.set_spec(suspend=True)
    world.settle()
    world.end_pod(first, 0, samples.trained())
    world.end_pod(second, 0)
    world.settle()
    assert world.condition("Complete")[0] == "True"


def test_a_worker_whose_container_has_ended_does_not_turn_training_into_starting() -> None:
    world = with_dataset(new_world())
    _, second = with_running(world)
    world.end_pod(second, 0)
    world.objects[POD, second]["status"]["phase"] = "Running"
    world.settle()
    assert world.condition("Running") == ("True", "Training")


def test_progress_is_told_and_stays_when_rank_0_is_silent() -> None:
    world = with_dataset(new_world())
    with_running(world)
    told = Progress(
        phase="Training",
        attempt=1,
        step=4,
        total_steps=10,
        epoch=0.4,
        train_loss=1.23456,
        eta_seconds=90,
        updated_at=START,
    )
    world.progress = told.model_dump(mode="json", by_alias=True)
    plan = world.settle()
    assert plan.requeue_after == 10
    progress = world.status["progress"]
    assert (progress["steps"], progress["loss"], progress["eta"], progress["percent"]) == ("4/10", "1.235", "90s", 40)
    assert world.status["attempts"][0]["step"] == 4
    world.progress = None
    world.settle()
    assert world.status["progress"] == progress


def test_without_the_crd_of_pytorchjobs_the_job_says_so_and_goes_on_when_it_appears() -> None:
    world = new_world()
    world.served.clear()
    with_dataset(world)
    assert world.condition("Stalled") == ("True", "TrainingOperatorMissing")
    assert "training-operator" in world.status["message"]
    world.served.add(PYTORCH_JOB)
    world.run(15)
    assert has(world, PYTORCH_JOB, "tickets-a1")
    assert world.condition("Stalled")[0] == "False"


def test_what_the_apiserver_refuses_is_a_condition_and_the_job_goes_on_when_it_is_taken() -> None:
    world = new_world()
    world.refusal = "exceeded quota: team, requested: count/jobs.batch=1"
    world.settle()
    assert world.condition("Stalled") == ("True", "Refused")
    assert "count/jobs.batch=1. Correct the spec" in world.status["message"]
    assert not has(world, JOB, "tickets-preflight")
    world.refusal = None
    world.settle()
    assert has(world, JOB, "tickets-preflight")
    assert world.condition("Stalled")[0] == "False"


def test_a_training_operator_that_does_not_react_is_named() -> None:
    world = with_dataset(new_world())
    world.run(45)
    assert world.condition("Stalled") == ("True", "TrainingOperatorMissing")
    world.make_workers(1)
    world.run(15)
    assert world.condition("Stalled")[0] == "False"


def test_an_object_of_somebody_else_is_not_touched() -> None:
    world = new_world()
    world.put(CONFIG_MAP, {"metadata": {"name": NAME}, "data": {}})
    world.settle()
    assert world.condition("Stalled") == ("True", "NameTaken")
    assert not has(world, JOB, "tickets-preflight")
    del world.objects[CONFIG_MAP, NAME]
    world.run(15)
    assert has(world, JOB, "tickets-preflight")


def test_pods_of_a_deleted_namesake_are_waited_for() -> None:
    world = new_world()
    old = World(samples.job(NAME))
    with_running(with_dataset(old))
    leftover = old.objects[POD, "tickets-a1-worker-0"]
    leftover["metadata"]["ownerReferences"][0]["uid"] = "the-namesake's"
    world.put(POD, leftover)
    with_dataset(world)
    assert not has(world, PYTORCH_JOB, "tickets-a1")
    world.remove_pods("tickets-a1-worker-0")
    world.settle()
    assert has(world, PYTORCH_JOB, "tickets-a1")


def test_a_spec_of_another_version_fails_with_a_remedy_and_is_not_retried() -> None:
    world = new_world(automodel={"novelty": 1})
    plan = world.settle()
    assert world.condition("Failed") == ("True", "InvalidSpec")
    assert "automodel.novelty" in world.status["message"]
    assert plan.requeue_after is None


@pytest.mark.parametrize("spec", [{"automodel": None}, {"model": {}}, {"dataset": {"training": {}}}])
def test_what_only_the_rules_of_a_newer_crd_refuse_fails_too(spec: dict[str, Any]) -> None:
    world = new_world(**spec)
    world.settle()
    assert world.condition("Failed") == ("True", "InvalidSpec")


def test_a_job_goes_on_when_an_operator_comes_that_understands_it() -> None:
    world = with_dataset(new_world())
    with_running(world)
    world.set_spec(automodel={"parallelism": {"numNodes": 2}, "novelty": 1})
    world.settle()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    world.set_spec(automodel={"parallelism": {"numNodes": 2}})
    world.settle()
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("Running")[0] == "True"


def test_a_pod_that_somebody_else_labelled_is_no_worker() -> None:
    world = with_dataset(new_world())
    labels = {"customizer.dev/customization-job": NAME, "customizer.dev/attempt": "first"}
    world.put(POD, {"metadata": {"name": "stranger", "labels": labels}, "status": {"phase": "Running"}})
    with_running(world)


def test_a_status_of_a_newer_operator_is_read_as_far_as_it_is_known() -> None:
    world = with_dataset(new_world())
    subject = world.subject
    subject["status"]["future"] = {"a": 1}
    subject["status"]["dataset"]["future"] = 1
    world.put(CUSTOMIZATION_JOB, subject)
    world.settle()
    assert world.condition("DatasetReady")[0] == "True"
    assert "future" not in world.status


def test_each_event_is_told_once() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.run(300)
    world.end_pod(first, 0, samples.trained())
    world.end_pod(second, 0)
    world.run(300)
    reasons = [reason for reason, _, _ in world.events]
    assert sorted(reasons) == ["AttemptStarted", "AttemptSucceeded", "Complete", "DatasetReady", "Report", "Running"]


def _life(world: World, look: Callable[[], None]) -> None:
    """A life with everything in it: crash, lost worker, suspension, success."""
    look()
    world.pass_preflight(samples.passed())
    look()
    for pod in world.make_workers(1):
        world.run_pods(pod)
    look()
    for pod in ("tickets-a1-worker-0", "tickets-a1-worker-1"):
        world.end_pod(pod, 1)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    look()
    world.now += timedelta(seconds=30)
    look()
    world.run_pods(*world.make_workers(2))
    look()
    world.now += timedelta(seconds=30)
    world.remove_pods("tickets-a2-worker-1")
    world.make_worker(2, 1)
    look()
    world.remove_pods("tickets-a2-worker-0", "tickets-a2-worker-1")
    look()
    world.run_pods(*world.make_workers(3))
    look()
    world.set_spec(suspend=True)
    look()
    world.remove_pods("tickets-a3-worker-0", "tickets-a3-worker-1")
    look()
    world.set_spec(suspend=False)
    look()
    world.run_pods(*world.make_workers(4))
    look()
    world.end_pod("tickets-a4-worker-0", 0, samples.trained())
    world.end_pod("tickets-a4-worker-1", 0)
    look()


_OUTCOMES = [("Failed", "Crashed"), ("Preempted", "WorkerLost"), ("Suspended", "Suspended"), ("Succeeded", "Succeeded")]


def test_a_life_with_everything_in_it_ends_well() -> None:
    world = new_world()
    _life(world, _settle(world))
    assert outcomes(world) == _OUTCOMES
    assert world.condition("Complete")[0] == "True"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_nodes_whose_clocks_are_wrong_change_nothing(minutes: int) -> None:
    world = new_world()
    world.node_clock = timedelta(minutes=minutes)
    _life(world, _settle(world))
    assert outcomes(world) == _OUTCOMES


def _settle(world: World) -> Callable[[], None]:
    return lambda: (world.settle(), None)[1]


def test_an_operator_that_dies_after_any_write_is_followed_by_one_that_ends_up_the_same() -> None:
    calm = new_world()
    _life(calm, _settle(calm))
    assert calm.effects > 20
    for crash_after in range(1, calm.effects + 1):
        shaken = new_world()
        shaken.crash_after = crash_after
        _life(shaken, _settle(shaken))
        assert outcomes(shaken) == _OUTCOMES, crash_after
        assert shaken.status["conditions"] == calm.status["conditions"], crash_after
        assert _kept(shaken) == _kept(calm), crash_after
        assert set(shaken.events) >= {event for event in calm.events if event[0] != "Running"}, crash_after


def _kept(world: World) -> set[tuple[Resource, str]]:
    return {place for place in world.objects if place[0] is not POD}


def test_history_is_kept_when_the_pytorchjobs_of_earlier_attempts_are_gone() -> None:
    world = with_dataset(new_world())
    for pod in with_running(world):
        world.end_pod(pod, 1)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    world.run(15)
    del world.objects[PYTORCH_JOB, "tickets-a1"]
    world.settle()
    assert outcomes(world) == [("Failed", "Crashed"), ("", "")]
    assert world.status["attempt"] == 2


def test_history_is_recovered_from_pytorchjobs_when_the_status_is_lost() -> None:
    world = with_dataset(new_world())
    with_running(world)
    subject = world.subject
    del subject["status"]
    world.put(CUSTOMIZATION_JOB, subject)
    world.settle()
    assert world.status["attempt"] == 1
    assert not has(world, PYTORCH_JOB, "tickets-a2")
    assert world.condition("Running")[0] == "True"


def test_pods_that_training_operator_forgets_to_stop_are_stopped() -> None:
    world = with_dataset(new_world())
    first, second = with_running(world)
    world.end_pod(first, 1)
    world.set_conditions((PYTORCH_JOB, "tickets-a1"), "Failed")
    world.run(200)
    assert has(world, PYTORCH_JOB, "tickets-a1")
    assert not has(world, PYTORCH_JOB, "tickets-a2"), second
    world.run(200)
    assert not has(world, PYTORCH_JOB, "tickets-a1")
    world.remove_pods()
    world.run(15)
    assert has(world, PYTORCH_JOB, "tickets-a2")
