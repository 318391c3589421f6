"""Evaluation and canaries, played against a simulated cluster: a version that is not good enough is never served."""

import copy
from typing import Any

import pytest

from customizer_contract.adapters import ProbeReport, Wish
from customizer_contract.errors import Reason
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.objects.serving_sidecar import WISH_ANNOTATION
from customizer_operator.plan.plan import DEPLOYMENT, POD, SERVICE, Exists
from tests.unit.serving.world import (
    ADAPTER,
    ARTIFACT,
    DIGEST,
    MODEL,
    World,
    build_deployment,
    build_job,
    condition,
    publish,
    served,
)

NEXT_DIGEST = "b" * 64
NEXT = ADAPTER.model_copy(update={"manifest_digest": NEXT_DIGEST})
EVALUATION: Object = {"dataset": {"s3": {"uri": "s3://demo/held-out.jsonl"}}, "maxSamples": 50}
CANARY: Object = {"evaluation": EVALUATION, "rollout": {"strategy": "Canary"}}


def score(value: float | None, **parts: Any) -> EvaluationReport:
    """Builds how a server has answered."""
    told = {"question": "", "score": value, "samples": 50, "datasetDigest": "d" * 64}
    return EvaluationReport.model_validate(told | parts)


def follow(world: World, **scores: EvaluationReport) -> World:
    """Lets the job of a world publish another artifact, which scores as given."""
    world.job, world.verdict = publish(NEXT), NEXT
    world.scores = scores
    return world


def build_served(previous: float = 0.7, **spec: Any) -> World:
    """Returns a world in which the first artifact is served, and every version is tried."""
    world = World(build_deployment(**CANARY | spec), publish(ADAPTER), ADAPTER, listed=["tickets", "tickets-base"])
    world.scores = {DIGEST: score(previous)}
    assert world.settle()["state"] == "Ready"
    return world


def play(world: World, limit: int = 30) -> Object:
    """Settles, and looks after every step at what the Service selects."""
    world.log.clear()
    for _ in range(limit):
        before = copy.deepcopy((world.objects, world.subject))
        world.step()
        assert find_selected(world) <= ({DIGEST, NEXT_DIGEST} if is_promoted(world) else {DIGEST})
        if before == (world.objects, world.subject):
            return dict(world.subject["status"])
    raise AssertionError(f"still changing: {world.subject['status']}")


def is_promoted(world: World) -> bool:
    return (world.subject["status"].get("rollout") or {}).get("outcome") == "Promoted"


def find_selected(world: World) -> set[str]:
    """Returns the digests of the artifacts to which the Service may send a request."""
    service = world.objects.get((SERVICE, "bot"))
    selector = service["spec"]["selector"].items() if service else ()
    return {
        str(digest_of(item))
        for (resource, _), item in world.objects.items()
        if service and resource == POD and selector <= item["metadata"]["labels"].items()
    }


def digest_of(pod: Object) -> str | None:
    artifact = Serving.model_validate_json(pod["metadata"]["annotations"][FILE_ANNOTATION]).artifact
    return artifact.manifest_digest if artifact else None


def asked(world: World, pod: str) -> EvaluationInput | None:
    """Returns what a pod is asked."""
    annotations = world.get(POD, pod)["metadata"]["annotations"]
    return Wish.model_validate_json(annotations[WISH_ANNOTATION]).evaluation


def has_canary(world: World) -> bool:
    return (DEPLOYMENT, "bot-canary") in world.objects


def test_nobody_is_asked_for_the_loss_of_an_adapter() -> None:
    world = served(evaluation=EVALUATION | {"metric": "Loss"})
    status = world.settle()
    (evaluated,) = (entry for entry in status["conditions"] if entry["type"] == "Evaluated")
    assert (evaluated["status"], evaluated["reason"]) == ("False", "NoLossOfAdapters")
    assert "or serve a merged model" in evaluated["message"]
    assert asked(world, "bot-0") is None


def test_of_full_weights_the_loss_is_told() -> None:
    deployment = build_deployment(evaluation=EVALUATION | {"metric": "Loss"})
    world = World(deployment, publish(MODEL), MODEL, listed=["tickets"])
    world.scores = {DIGEST: score(0.5, loss=0.693)}
    status = world.settle()
    assert (status["evaluation"]["score"], status["evaluation"]["loss"]) == (0.5, 0.693)
    (evaluated,) = (entry for entry in status["conditions"] if entry["type"] == "Evaluated")
    assert "scores 0.5 by Loss of 50 samples, a loss of 0.693" in evaluated["message"]


def test_the_served_version_is_asked_once_and_by_one_server() -> None:
    world = served(evaluation=EVALUATION, replicas=2)
    status = world.settle()
    assert (status["state"], condition(status, "Evaluated")) == ("Ready", ("False", "Evaluating"))
    questions = [asked(world, pod) for pod in ("bot-0", "bot-1")]
    assert [question is not None for question in questions] == [True, False]
    assert questions[0] is not None
    assert (questions[0].uri, questions[0].model, questions[0].max_samples) == (
        "s3://demo/held-out.jsonl",
        "tickets",
        50,
    )
    assert world.log[-1].requeue_after == 3.0
    world.scores = {DIGEST: score(0.9, refused=1, message="The server did not take 1 of 50 samples: 400")}
    status = world.settle()
    assert condition(status, "Evaluated") == ("True", "Evaluated")
    assert (status["evaluation"]["score"], status["evaluation"]["manifestDigest"]) == (0.9, DIGEST)
    assert asked(world, "bot-0") is None
    world.scores = {DIGEST: score(0.1)}
    assert world.settle() == status
    assert world.log[-1].requeue_after == 30.0
    world.change(evaluation={**EVALUATION, "metric": "Contains"})
    assert world.settle()["evaluation"]["score"] == 0.1
    assert "rollout" not in status


def test_without_a_dataset_the_validation_records_of_the_job_are_asked() -> None:
    world = served(evaluation={})
    assert world.job is not None
    world.job["spec"]["dataset"]["promptTemplate"] = "{q} {a}"
    status = world.settle()
    question = asked(world, "bot-0")
    assert question is not None
    assert (question.uri, question.prompt_template) == ("s3://demo/out.work/cj-1/held-out.jsonl", "{q} {a}")
    assert condition(status, "Ready")[0] == "True"
    world.job = None
    assert condition(world.settle(), "Evaluated")[0] == "False"


def test_the_first_version_is_served_at_once_where_there_is_no_bound() -> None:
    world = build_served()
    assert not any(item["metadata"]["name"] == "bot-canary" for plan in world.log for item in plan.apply)
    status = world.subject["status"]
    assert condition(status, "Promoted") == ("True", "AsExpected")
    assert status["evaluation"]["score"] == 0.7


def test_a_canary_does_not_wait_for_requests_when_it_goes() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    world.settle()
    (server,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["containers"]
    (canary,) = world.get(DEPLOYMENT, "bot-canary")["spec"]["template"]["spec"]["containers"]
    assert server.keys() - canary.keys() == {"lifecycle"}


def test_a_canary_reads_the_store_by_itself_where_the_servers_do() -> None:
    runtime = {"type": "MultiLLM", "image": "nim/model-free-nim:2.0.6", "device": "cpu"}
    first = MODEL.model_copy(update={"uri": "s3://demo/first"})
    spec = build_deployment(runtime=runtime, weights="Direct", **CANARY)
    world = World(spec, publish(first), first, listed=["tickets"])
    world.scores = {DIGEST: score(0.7)}
    world.settle()
    second = first.model_copy(update={"uri": "s3://demo/second", "manifest_digest": NEXT_DIGEST})
    world.job, world.verdict = publish(second), second
    world.settle()
    found = {}
    for name in ("bot", "bot-canary"):
        (server,) = world.get(DEPLOYMENT, name)["spec"]["template"]["spec"]["containers"]
        found[name] = next(entry["value"] for entry in server["env"] if entry["name"] == "NIM_MODEL_PATH")
    assert found == {"bot": "s3://demo/first", "bot-canary": "s3://demo/second"}


def test_a_version_that_is_good_enough_takes_over() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    before = world.get(DEPLOYMENT, "bot")["spec"]
    status = world.settle()
    assert has_canary(world)
    assert world.get(DEPLOYMENT, "bot")["spec"] == before
    assert (status["state"], condition(status, "Promoted")) == ("Updating", ("Unknown", "Evaluating"))
    assert condition(status, "Available")[0] == "True"
    assert status["artifact"]["manifestDigest"] == DIGEST
    assert asked(world, "bot-0") is None
    world.scores[NEXT_DIGEST] = score(0.7)
    status = play(world)
    assert not has_canary(world)
    assert find_selected(world) == {NEXT_DIGEST}
    assert (status["state"], condition(status, "Promoted")) == ("Ready", ("True", "CanaryPromoted"))
    assert status["artifact"]["manifestDigest"] == NEXT_DIGEST
    # What the canary has scored is the score of what is served: it is not asked again.
    assert status["evaluation"] == status["rollout"]["evaluation"]
    assert condition(status, "Evaluated") == ("True", "Evaluated")
    assert [event.reason for plan in world.log for event in plan.events] == ["CanaryPromoted", "ReplicasAnswer"]


@pytest.mark.parametrize(
    ("rollout", "next_score", "reason", "words"),
    [
        pytest.param({"minimumScore": 0.5}, 0.4, "ScoreTooLow", "rollout.minimumScore is 0.5", id="below the bound"),
        pytest.param({}, 0.69, "WorseThanPrevious", "artifact aaaaaaaaaaaa, scores 0.7", id="below the one before"),
    ],
)
def test_a_version_that_is_not_good_enough_is_removed_and_never_served(
    rollout: Object, next_score: float, reason: str, words: str
) -> None:
    world = build_served(rollout={"strategy": "Canary", **rollout})
    follow(world, **{DIGEST: score(0.7), NEXT_DIGEST: score(next_score)})
    before = world.get(DEPLOYMENT, "bot")["spec"]
    status = play(world)
    assert not has_canary(world)
    assert world.get(DEPLOYMENT, "bot")["spec"] == before
    assert (status["state"], condition(status, "Stalled")) == ("Degraded", ("True", reason))
    assert condition(status, "Promoted") == ("False", reason)
    assert condition(status, "Available")[0] == "True"
    assert status["message"].startswith(f"Artifact bbbbbbbbbbbb scores {next_score} by ExactMatch of 50 samples")
    assert words in status["message"]
    assert status["message"].endswith("What was served before is served on.")
    assert (status["rollout"]["outcome"], status["evaluation"]["score"]) == ("RolledBack", 0.7)
    assert [event.reason for plan in world.log for event in plan.events if event.type == "Warning"] == [reason]


def build_loser() -> World:
    world = follow(build_served(), **{DIGEST: score(0.7), NEXT_DIGEST: score(0.1)})
    play(world)
    return world


def test_a_loser_is_not_tried_again_until_what_is_asked_of_it_changes() -> None:
    world = build_loser()
    world.scores[NEXT_DIGEST] = score(0.9)
    world.change(replicas=3)
    status = play(world)
    assert (status["rollout"]["outcome"], world.get(DEPLOYMENT, "bot")["spec"]["replicas"]) == ("RolledBack", 3)
    assert find_selected(world) == {DIGEST}
    world.change(rollout={"strategy": "Canary", "minimumScore": 0.8})
    assert play(world)["state"] == "Ready"
    assert find_selected(world) == {NEXT_DIGEST}


def test_the_way_back_to_what_is_served_and_the_way_on_without_a_trial() -> None:
    world = build_loser()
    world.job, world.verdict = publish(ADAPTER), ADAPTER
    status = play(world)
    assert (status["state"], "rollout" in status) == ("Ready", False)
    world = build_loser()
    world.change(rollout={"strategy": "RollingUpdate"})
    status = world.settle()
    assert (status["state"], find_selected(world), "rollout" in status) == ("Ready", {NEXT_DIGEST}, False)


def test_the_first_version_must_reach_the_bound_before_anything_is_served() -> None:
    world = World(
        build_deployment(**CANARY | {"rollout": {"strategy": "Canary", "minimumScore": 0.5}}),
        publish(ADAPTER),
        ADAPTER,
        listed=["tickets", "tickets-base"],
    )
    status = world.settle()
    assert (status["state"], has_canary(world), "url" in status) == ("Starting", True, False)
    assert (DEPLOYMENT, "bot") not in world.objects
    assert (SERVICE, "bot") not in world.objects
    world.scores = {DIGEST: score(0.4)}
    status = world.settle()
    assert (status["state"], condition(status, "Stalled")[1], has_canary(world)) == ("Failed", "ScoreTooLow", False)
    world.change(rollout={"strategy": "Canary", "minimumScore": 0.4})
    status = world.settle()
    assert (status["state"], status["evaluation"]["score"], has_canary(world)) == ("Ready", 0.4, False)


def test_a_server_that_is_started_otherwise_is_tried_too_but_not_another_number_of_them() -> None:
    world = build_served()
    world.change(replicas=2)
    assert world.settle()["state"] == "Ready"
    assert not has_canary(world)
    world.scores = {}
    world.change(runtime={"type": "VLLM", "maxModelLen": 512})
    world.settle()
    assert has_canary(world)


def test_another_candidate_takes_the_place_of_one_that_is_tried() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    world.settle()
    third = ADAPTER.model_copy(update={"manifest_digest": "c" * 64})
    world.job, world.verdict = publish(third), third
    world.settle()
    assert digest_of(world.get(POD, "bot-canary-0")) == "c" * 64
    # A pod of the candidate before that is still on its way out is not listened to.
    world.get(POD, "bot-canary-0")["metadata"]["annotations"]["customizer.dev/version"] = "other"
    world.scores["c" * 64] = score(1.0)
    world.step()
    assert "evaluation" not in world.subject["status"]["rollout"]


@pytest.mark.parametrize(
    ("told", "reason", "stalled"),
    [
        pytest.param(
            score(None, reason=Reason.DATASET_NOT_FOUND, message="No such object."),
            "DatasetNotFound",
            "True",
            id="the data are missing",
        ),
        pytest.param(
            score(None, reason=Reason.EVALUATION_FAILED, message="No answer."),
            "EvaluationFailed",
            "False",
            id="the server does not answer",
        ),
        pytest.param(score(0.9, datasetDigest="e" * 64), "DatasetChanged", "True", id="the data have changed"),
    ],
)
def test_without_scores_of_the_same_data_a_canary_stays_and_says_why(
    told: EvaluationReport, reason: str, stalled: str
) -> None:
    world = follow(build_served(), **{DIGEST: score(0.7), NEXT_DIGEST: told})
    status = play(world)
    assert has_canary(world)
    assert status["rollout"]["outcome"] == "Trying"
    assert condition(status, "Stalled")[0] == stalled
    assert reason in {entry["reason"] for entry in status["conditions"]} or stalled == "False"
    world.scores[NEXT_DIGEST] = score(0.9)
    if reason == "DatasetChanged":
        world.change(evaluation={**EVALUATION, "maxSamples": 49})
    assert play(world)["state"] == "Ready"


def test_a_canary_that_cannot_start_says_why_while_the_others_serve() -> None:
    world = follow(build_served())
    world.settle()
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": "ValueError: no such option"}}
    pod = world.get(POD, "bot-canary-0")
    pod["status"] = {
        "phase": "Running",
        "containerStatuses": [{"name": "server", "restartCount": 3, "state": {}, "lastState": last}],
    }
    plan = world.step()
    assert plan.status is not None
    assert (plan.status["state"], condition(plan.status, "Stalled")) == ("Degraded", ("True", "ServerCrashing"))
    assert "no such option" in plan.status["message"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(ProbeReport(passed=False, answer="Rome", message="No Paris."), "RolledBack", id="another answer"),
        pytest.param(ProbeReport(passed=False, message="No answer within 30 s."), "Trying", id="none yet"),
    ],
)
def test_a_canary_must_answer_the_probe(answer: ProbeReport, outcome: str) -> None:
    world = World(
        build_deployment(**CANARY, probe={"prompt": "The capital?", "expectedText": "Paris"}),
        publish(ADAPTER),
        ADAPTER,
        listed=["tickets", "tickets-base"],
        answer=ProbeReport(passed=True, answer="Paris"),
    )
    world.scores = {DIGEST: score(0.7)}
    assert world.settle()["state"] == "Ready"
    world.answers = {NEXT_DIGEST: answer}
    status = play(follow(world, **{DIGEST: score(0.7)}))
    assert (status["rollout"]["outcome"], has_canary(world)) == (outcome, outcome == "Trying")
    assert condition(status, "Stalled")[0] == "True"


def test_who_was_started_without_evaluation_cannot_be_compared_with() -> None:
    world = served()
    world.scores = {DIGEST: score(0.7), NEXT_DIGEST: score(0.9)}
    world.change(**CANARY)
    # The same artifact: nothing better could be served on.
    assert world.settle()["state"] == "Ready"
    assert find_selected(world) == {DIGEST}
    world = served()
    world.scores = {NEXT_DIGEST: score(0.9)}
    world.job, world.verdict = publish(NEXT), NEXT
    world.change(**CANARY)
    status = world.settle()
    assert (find_selected(world), condition(status, "Stalled")) == ({DIGEST}, ("True", "PreviousNotAsked"))
    world.change(rollout={"strategy": "Canary", "compareWith": "None", "minimumScore": 0.5})
    assert (world.settle()["state"], find_selected(world)) == ("Ready", {NEXT_DIGEST})


def test_a_loser_is_not_served_even_where_nothing_else_is() -> None:
    world = build_loser()
    world.remove(DEPLOYMENT, "bot")
    status = world.settle()
    assert (status["state"], find_selected(world), condition(status, "Stalled")[0]) == ("Failed", set(), "True")


def test_a_candidate_is_tried_on_where_the_served_version_is_taken_away() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    world.settle()
    world.remove(DEPLOYMENT, "bot")
    assert (world.settle()["state"], find_selected(world), has_canary(world)) == ("Starting", set(), True)
    world.scores[NEXT_DIGEST] = score(0.1)
    assert (world.settle()["state"], find_selected(world)) == ("Ready", {NEXT_DIGEST})


def test_stopped_servers_have_no_canary() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    world.settle()
    world.change(suspend=True)
    status = world.settle()
    assert (status["state"], has_canary(world)) == ("Stopped", False)
    assert world.get(DEPLOYMENT, "bot")["spec"]["replicas"] == 0
    world.scores[NEXT_DIGEST] = score(0.9)
    world.change(suspend=False)
    assert (play(world)["state"], find_selected(world)) == ("Ready", {NEXT_DIGEST})


def test_a_canary_goes_with_the_job_that_made_its_artifact() -> None:
    world = follow(build_served(), **{DIGEST: score(0.7)})
    world.settle()
    world.job, world.verdict = None, ADAPTER
    assert (world.settle()["state"], has_canary(world)) == ("Ready", False)
    world.job, world.verdict = publish(NEXT), NEXT
    world.settle()
    assert has_canary(world)
    world.job, world.verdict = build_job(state="Training"), ADAPTER
    assert not (world.settle() and has_canary(world))


def test_a_name_that_somebody_else_has_is_told() -> None:
    world = World(build_deployment(**CANARY, **ARTIFACT), verdict=ADAPTER)
    world.others[Exists(DEPLOYMENT, "team", "bot-canary")] = {"metadata": {"ownerReferences": [{"uid": "other"}]}}
    assert "bot-canary of somebody else" in world.settle()["message"]


@pytest.mark.parametrize("next_score", [0.9, 0.1], ids=["promoted", "rolled back"])
def test_an_operator_that_dies_between_any_two_writes_loses_nothing(next_score: float) -> None:
    world = follow(build_served(), **{DIGEST: score(0.7), NEXT_DIGEST: score(next_score)})
    whole = copy.deepcopy(world)
    expected = play(whole)
    for plan in whole.log:
        writes = len([*plan.create, *plan.apply, *plan.annotate, *plan.delete])
        for effects in range(writes + 1):
            other = copy.deepcopy(world)
            other.step(effects)
            status = play(other)
            assert other.objects.keys() == whole.objects.keys()
            assert (status["state"], status["artifact"]) == (expected["state"], expected["artifact"])
            assert status["rollout"]["message"] == expected["rollout"]["message"]
        world.step()
