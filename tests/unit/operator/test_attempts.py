"""How an attempt ended, and when the next one starts."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import MISSED_ANOTHER, ExitCode, Reason
from customizer_contract.result import Problem, Result
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.attempts import (
    TrainingJob,
    count_failures,
    describe_problem,
    find_ending,
    find_next_start,
    judge_pod,
)
from customizer_operator.plan.pods import End, Pod
from tests.unit.operator.simulator import START

SOON = START + timedelta(seconds=30)


def result(reason: Reason) -> Result:
    return Result(command="train", error=Problem(reason=reason, message="It went wrong."))


def pod(rank: int = 0, *ends: End, **changes: Any) -> Pod:
    failed = any(end.exit_code for end in ends)
    values: dict[str, Any] = {
        "name": f"worker-{rank}", "uid": f"uid-{rank}", "owner_uid": "job", "attempt": 1, "rank": rank,
        "phase": "Failed" if failed else "Succeeded" if ends else "Running", "node": "node", "ip": "10.0.0.1",
        "created_at": START, "must_be_gone_at": None, "disruption": None, "started_at": START, "runs": not ends,
        "ends": ends, "raw": {},
    }  # fmt: skip
    return Pod(**{**values, **changes})


def end(code: int, said: Result | None = None, cause: str = "Error", after: float = 10) -> End:
    return End("pytorch", code, cause, START + timedelta(seconds=after), said)


def job(**changes: Any) -> TrainingJob:
    values: dict[str, Any] = {
        "name": "tickets-a1", "uid": "job", "number": 1, "created_at": START, "deleting": False, "reacted": True,
        "succeeded": False, "failed": False, "message": "",
    }  # fmt: skip
    return TrainingJob(**{**values, **changes})


def attempt(
    number: int = 1, outcome: AttemptOutcome | None = None, ran: bool = True, ended: datetime = SOON
) -> Attempt:
    return Attempt(
        number=number,
        started_at=START,
        placed_at=START if ran else None,
        running_at=START if ran else None,
        outcome=outcome,
        ended_at=ended if outcome else None,
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_the_catalogue_decides_whether_another_attempt_makes_sense(reason: Reason) -> None:
    entry = CATALOGUE[reason]
    verdict = judge_pod(pod(0, end(int(entry.exit_code), result(reason))))
    if entry.exit_code is ExitCode.PREEMPTED:
        assert verdict.outcome is AttemptOutcome.PREEMPTED
    else:
        assert (verdict.outcome, verdict.reason) == (AttemptOutcome.FAILED, reason)
        assert verdict.retryable is entry.retryable


@pytest.mark.parametrize(
    ("failed", "outcome", "reason", "retryable"),
    [
        (pod(0, end(1)), "Failed", "Crashed", True),
        (pod(0, end(137, cause="OOMKilled")), "Failed", "OutOfMemory", False),
        (pod(0, end(int(ExitCode.BAD_JOB))), "Failed", "JobFileInvalid", False),
        (pod(0, end(int(ExitCode.BAD_INPUT))), "Failed", "Crashed", False),
        (pod(0, end(137), disruption="EvictionByEvictionAPI"), "Preempted", "EvictionByEvictionAPI", True),
        (pod(0, end(143), must_be_gone_at=SOON), "Preempted", "WorkerLost", True),
        (pod(0, phase="Failed", runs=False), "Preempted", "WorkerLost", True),
    ],
    ids=["crash", "out of memory", "bad job", "bad input", "evicted", "killed while deleted", "never ran"],
)
def test_a_pod_that_left_no_words_is_judged_by_how_it_ended(
    failed: Pod, outcome: str, reason: str, retryable: bool
) -> None:
    verdict = judge_pod(failed)
    assert (verdict.outcome, verdict.reason, verdict.retryable) == (outcome, reason, retryable)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Reason.CRASHED, Reason.OUT_OF_MEMORY),
        (Reason.PEER_LOST, Reason.OUT_OF_MEMORY),
        (Reason.TRAINING_DIVERGED, Reason.TRAINING_DIVERGED),
    ],
)
def test_what_kubernetes_knows_of_memory_counts_more_than_words_that_know_less(said: Reason, reason: Reason) -> None:
    killed = pod(1, end(1, result(said), cause="OOMKilled"))
    assert judge_pod(killed).reason == reason
    ending = find_ending(attempt(), job(failed=True), [pod(0, end(1, result(Reason.CRASHED))), killed], 2, SOON)
    assert ending is not None
    assert ending.reason == reason


def test_the_first_rank_that_failed_decides_not_the_loudest() -> None:
    first = pod(1, end(65, result(Reason.TRAINING_DIVERGED), after=5))
    loud = pod(0, end(1, result(Reason.CRASHED), after=9))
    verdict = find_ending(attempt(), job(), [loud, first], 2, SOON)
    assert verdict is not None
    assert verdict.reason == "TrainingDiverged"


@pytest.mark.parametrize(
    "certain",
    [
        pod(1, end(65, result(Reason.DATASET_INVALID))),
        pod(1, end(137, cause="OOMKilled")),
        pod(1, end(137), disruption="PreemptionByScheduler"),
    ],
    ids=["knows its reason", "out of memory", "taken away"],
)
def test_within_one_second_the_one_that_knows_why_decides(certain: Pod) -> None:
    torn_down = [pod(0, end(1)), pod(2, end(1, result(Reason.CRASHED))), pod(3, end(75, result(Reason.PREEMPTED)))]
    verdict = find_ending(attempt(), job(), [*torn_down, certain], 4, SOON)
    assert verdict == judge_pod(certain)


def test_a_rank_that_missed_another_never_decides_before_that_one() -> None:
    missed = pod(0, end(1, result(Reason.PEER_LOST), after=10))
    cause = pod(1, end(65, result(Reason.TRAINING_DIVERGED), after=20))
    ending = find_ending(attempt(), job(failed=True), [missed, cause], 2, SOON)
    assert ending is not None
    assert ending.reason == Reason.TRAINING_DIVERGED


GONE = START - timedelta(seconds=61)


@pytest.mark.parametrize("reason", sorted(MISSED_ANOTHER))
@pytest.mark.parametrize(
    ("training_job", "other", "outcome", "said", "node"),
    [
        (job(), [pod(1, node="b", disruption="DeletionByTaintManager")], "Preempted", "DeletionByTaintManager", "b"),
        (job(), [pod(1, node="b", must_be_gone_at=GONE)], "Preempted", "WorkerLost", "b"),
        (job(), [], "Preempted", "WorkerLost", "was-b"),
        (job(failed=True), [], "Failed", None, None),
        (job(), [pod(1, node="b")], "Failed", None, "b"),
        (job(), [pod(1, end(1, result(Reason.PEER_LOST)), node="b")], "Failed", None, None),
    ],
    ids=["taken away", "on a lost node", "gone", "removed by training-operator", "silent", "missed the first"],
)
def test_a_rank_that_missed_another_blames_the_other_one(
    reason: Reason, training_job: TrainingJob, other: list[Pod], outcome: str, said: str | None, node: str | None
) -> None:
    known = attempt().model_copy(update={"nodes": ["a", "was-b"]})
    verdict = find_ending(known, training_job, [pod(0, end(1, result(reason), after=5), node="a"), *other], 2, SOON)
    assert verdict is not None
    assert (verdict.outcome, verdict.node) == (outcome, node)
    assert verdict.reason == said or (said is None and verdict.reason in MISSED_ANOTHER)


def test_of_two_silent_ranks_none_is_blamed() -> None:
    missed = pod(0, end(1, result(Reason.PEER_LOST)), node="a")
    verdict = find_ending(attempt(), job(), [missed, pod(1, node="b"), pod(2, node="c")], 3, SOON)
    assert verdict is not None
    assert (verdict.reason, verdict.node) == ("PeerLost", None)


def test_other_ranks_have_a_while_to_tell_that_they_failed_earlier() -> None:
    pods = [pod(0, end(1, after=10)), pod(1)]
    assert find_ending(attempt(), job(), pods, 2, START + timedelta(seconds=12)) is None
    assert find_ending(attempt(), job(), pods, 2, START + timedelta(seconds=26)) is not None


@pytest.mark.parametrize(
    ("training_job", "pods", "ran", "outcome", "reason"),
    [
        (None, [], True, "Preempted", "TrainingJobDeleted"),
        (job(succeeded=True), [], True, "Preempted", "ResultLost"),
        (job(failed=True), [], True, "Preempted", "WorkerLost"),
        (job(failed=True, message="invalid"), [], False, "Failed", "TrainingJobFailed"),
        (job(), [pod(0)], True, "Preempted", "WorkerLost"),
        (job(), [pod(0), pod(1, must_be_gone_at=GONE)], True, "Preempted", "WorkerLost"),
        (job(), [pod(0), pod(1, created_at=SOON, runs=False, started_at=None)], True, "Preempted", "WorkerLost"),
    ],
    ids=[
        "deleted",
        "success unread",
        "failed and gone",
        "refused",
        "missing",
        "on a lost node",
        "made anew",
    ],
)
def test_a_gang_that_is_broken_ends(
    training_job: TrainingJob | None, pods: list[Pod], ran: bool, outcome: str, reason: str
) -> None:
    verdict = find_ending(attempt(ran=ran), training_job, pods, 2, SOON)
    assert verdict is not None
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


@pytest.mark.parametrize(
    "pods",
    [
        [],
        [pod(0, runs=False, started_at=None)],
        [pod(0), pod(1)],
        [pod(0), pod(1, end(0))],
        [pod(rank, created_at=START + timedelta(seconds=15 * rank)) for rank in range(4)],
        [pod(0), pod(1, created_at=SOON, runs=False, started_at=None), pod(2, created_at=SOON)],
    ],
    ids=[
        "none yet",
        "some",
        "all run",
        "one is done",
        "made slowly, so that some run before others are there",
        "let in late by a quota",
    ],
)
def test_a_gang_that_comes_up_or_runs_goes_on(pods: list[Pod]) -> None:
    assert find_ending(attempt(ran=len(pods) == 2), job(), pods, 2, SOON) is None


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(reason=Reason.DATASET_INVALID, message="No prompt."), "No prompt."),
        (Problem(reason=Reason.DATASET_INVALID, message="Void.", file="x.jsonl", line=3), "x.jsonl:3: Void."),
        (
            Problem(reason=Reason.DATASET_INVALID, message="x.jsonl:3: Void.", file="x.jsonl", line=3),
            "x.jsonl:3: Void.",
        ),
        (
            Problem(reason=Reason.DATASET_INVALID, message="Void.", file="x.jsonl", field="p"),
            "x.jsonl (field p): Void.",
        ),
    ],
)
def test_an_error_is_told_with_its_place_once(problem: Problem, text: str) -> None:
    assert describe_problem(problem) == text


F, P, S = AttemptOutcome.FAILED, AttemptOutcome.PREEMPTED, AttemptOutcome.SUSPENDED


@pytest.mark.parametrize(
    ("outcomes", "pause"),
    [
        ([F], 10),
        ([F, F], 20),
        ([F, F, F, F], 80),
        ([F] * 12, 300),
        ([P], None),
        ([F, F, P], None),
        ([F, P, F], 10),
        ([S], None),
        ([F, S], None),
    ],
)
def test_only_failures_in_a_row_make_the_next_attempt_wait(outcomes: list[AttemptOutcome], pause: float | None) -> None:
    attempts = [attempt(number, outcome) for number, outcome in enumerate(outcomes, 1)]
    start = find_next_start(attempts)
    assert start == (None if pause is None else SOON + timedelta(seconds=pause))


def test_an_attempt_that_was_taken_away_before_it_ran_is_not_repeated_at_once() -> None:
    assert find_next_start([attempt(1, P, ran=False)]) == SOON + timedelta(seconds=10)


def test_the_first_attempt_starts_at_once() -> None:
    assert find_next_start([]) is None


def test_only_failures_count() -> None:
    assert count_failures([attempt(1, F), attempt(2, P), attempt(3, S), attempt(4, F), attempt(5)]) == 2
