"""Who is woken by what, and what a decision gets to see; and the metrics over the same caches."""

from dataclasses import replace
from typing import Any

from prometheus_client import generate_latest

from customizer_operator.api.base import JOB_LABEL
from customizer_operator.cache import Cache
from customizer_operator.kinds import build_kinds
from customizer_operator.metrics import Metrics
from customizer_operator.observer import ask, build_note_taker, find_keys_to_wake, observe
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    MODEL_DEPLOYMENT,
    POD,
    Exists,
    HttpGet,
    Key,
    Observed,
    Question,
)
from tests.unit.operator.simulator import SETTINGS, START

KINDS = build_kinds(SETTINGS)


def new_cache() -> Cache:
    return Cache(take_note=build_note_taker(KINDS))


def item(name: str, namespace: str = "team", **parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"}, **parts}


def deployment(name: str, job: str, namespace: str = "team") -> dict[str, Any]:
    return item(name, namespace, spec={"model": {"customizationJobRef": {"name": job}}})


def test_a_change_of_a_job_wakes_the_job_and_the_deployments_that_name_it() -> None:
    cache = new_cache()
    for name, job, namespace in (("a", "tickets", "team"), ("b", "other", "team"), ("c", "tickets", "elsewhere")):
        cache.put(MODEL_DEPLOYMENT, deployment(name, job, namespace))
    keys = find_keys_to_wake(KINDS, cache, CUSTOMIZATION_JOB, item("tickets"))
    assert keys == [Key("customizationjobs", "team", "tickets"), Key("modeldeployments", "team", "a")]


def test_a_change_of_a_child_wakes_those_whose_label_it_carries() -> None:
    child = item("tickets-a1-worker-0")
    child["metadata"]["labels"] = {JOB_LABEL: "tickets"}
    assert find_keys_to_wake(KINDS, new_cache(), POD, child) == [Key("customizationjobs", "team", "tickets")]


def test_a_decision_sees_the_objects_that_its_subject_names_and_that_exist() -> None:
    cache = new_cache()
    kind = KINDS[1]
    subject = deployment("a", "tickets")
    assert observe(kind, subject, cache, START).referenced == {}
    cache.put(CUSTOMIZATION_JOB, item("tickets"))
    assert list(observe(kind, subject, cache, START).referenced) == [(CUSTOMIZATION_JOB, "tickets")]


def test_answers_lead_to_questions_and_what_is_left_open_is_told_apart() -> None:
    first, then, pod = Exists(POD, "team", "first"), Exists(POD, "team", "then"), HttpGet("http://pod")

    def wish(observed: Observed) -> list[Question]:
        # A decision may ask the same twice.
        return [first, first] if first not in observed.answers else [first, then, pod]

    kind = replace(KINDS[0], ask=wish)
    observed = observe(kind, item("tickets"), new_cache(), START)
    observed, left = ask(kind, observed, lambda asked: {question: "yes" for question in asked if question != pod})
    assert observed.answers == {first: "yes", then: "yes"}
    assert left == [pod]
    observed, left = ask(kind, observed.with_answers({**observed.answers, pod: None}), lambda asked: {})
    assert left == []


def test_a_name_that_ends_in_a_star_means_every_job_whose_name_begins_so() -> None:
    cache = new_cache()
    subject = deployment("a", "tickets-*")
    cache.put(MODEL_DEPLOYMENT, subject)
    for name, namespace in (
        ("tickets-1", "team"),
        ("tickets-2", "team"),
        ("other", "team"),
        ("tickets-3", "elsewhere"),
    ):
        cache.put(CUSTOMIZATION_JOB, item(name, namespace))
    seen = [name for _, name in observe(KINDS[1], subject, cache, START).referenced]
    assert sorted(seen) == ["tickets-1", "tickets-2"]
    assert Key("modeldeployments", "team", "a") in find_keys_to_wake(KINDS, cache, CUSTOMIZATION_JOB, item("tickets-4"))
    assert len(find_keys_to_wake(KINDS, cache, CUSTOMIZATION_JOB, item("other"))) == 1


def test_metrics_count_objects_by_state_and_the_queue() -> None:
    cache = new_cache()
    for name, state in (("a", "Training"), ("b", "Training"), ("c", "Failed")):
        cache.put(CUSTOMIZATION_JOB, item(name, status={"state": state}))
    cache.put(CUSTOMIZATION_JOB, item("new"))
    text = generate_latest(Metrics(cache, KINDS, lambda: 7).registry).decode()
    assert 'customizer_objects{kind="CustomizationJob",state="Training"} 2.0' in text
    assert 'customizer_objects{kind="CustomizationJob",state="Unknown"} 1.0' in text
    assert "customizer_queue_depth 7.0" in text


def attempt(number: int, **facts: Any) -> dict[str, Any]:
    return {"number": number, "startedAt": "2026-01-01T00:01:00Z", **facts}


def test_what_a_written_status_tells_for_the_first_time_is_counted_once() -> None:
    metrics = Metrics(new_cache(), KINDS, lambda: 0)
    ended = {
        "outcome": "Failed",
        "reason": "Crashed",
        "placedAt": "2026-01-01T00:02:00Z",
        "endedAt": "2026-01-01T00:03:00Z",
    }
    plan = {"worldSize": 8}
    new = item("tickets", spec={"compute": {"device": "gpu"}})
    new["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    begun = {"plan": plan, "attempts": [attempt(1)]}
    over = {"plan": plan, "attempts": [attempt(1, **ended), attempt(2)]}
    for before, after in ((None, begun), (begun, over), (over, over)):
        metrics.count({**new, "status": before}, after)
    text = generate_latest(metrics.registry).decode().splitlines()
    assert "customizer_job_start_seconds_count 1.0" in text
    assert "customizer_job_start_seconds_sum 60.0" in text
    assert 'customizer_attempts_total{outcome="Failed",reason="Crashed"} 1.0' in text
    assert 'customizer_gpu_seconds_total{outcome="Failed"} 480.0' in text
