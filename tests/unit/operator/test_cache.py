"""The cache: the newest version wins, whoever brings it."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from customizer_operator import cache as cache_module
from customizer_operator.api.base import JOB_LABEL
from customizer_operator.cache import Cache, take_in
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, POD, Key, refer_to

OWNER = Key("customizationjobs", "team", "tickets")


def pod(name: str, version: int, uid: str = "u", owner: str | None = "tickets", namespace: str = "team") -> Any:
    labels = {JOB_LABEL: owner} if owner else {}
    return {
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version), "labels": labels,
        }
    }  # fmt: skip


def names(cache: Cache) -> list[str]:
    return [item["metadata"]["name"] for item in cache.owned_by(OWNER).get(POD, ())]


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    cache.put(POD, pod("a", 5))
    cache.put(POD, pod("a", 3))
    found = cache.get(POD, "team", "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "5"


def test_objects_are_found_by_their_owner_in_the_order_of_their_names() -> None:
    cache = Cache()
    for name in ("b", "a"):
        cache.put(POD, pod(name, 1))
    cache.put(POD, pod("other", 1, owner="somebody"))
    cache.put(POD, pod("elsewhere", 1, namespace="other"))
    assert names(cache) == ["a", "b"]


def test_a_changed_label_changes_the_owner() -> None:
    cache = Cache()
    cache.put(POD, pod("a", 1))
    cache.put(POD, pod("a", 2, owner=None))
    assert names(cache) == []


def test_the_removal_of_a_predecessor_does_not_remove_its_successor() -> None:
    cache = Cache()
    cache.put(POD, pod("a", 5, uid="new"))
    cache.remove(refer_to(POD, pod("a", 6, uid="old")))
    assert names(cache) == ["a"]
    cache.remove(refer_to(POD, pod("a", 6, uid="new")))
    assert names(cache) == []


def test_a_list_drops_what_is_gone_and_keeps_what_came_later() -> None:
    cache = Cache()
    cache.put(POD, pod("gone", 3))
    cache.put(POD, pod("stays", 3))
    cache.put(POD, pod("newer", 12))
    cache.drop_unlisted(POD, {("team", "stays")}, version=10, namespace=None)
    assert names(cache) == ["newer", "stays"]


def put(version: int, uid: str = "u") -> Callable[[Cache], None]:
    """As a list that takes long or the answer to a write does it, or a watch that tells of a change."""
    return lambda cache: cache.put(POD, pod("a", version, uid))


def remove(version: int, uid: str = "u") -> Callable[[Cache], None]:
    """As a watch does it."""
    return lambda cache: cache.remove(refer_to(POD, pod("a", version, uid)), version)


def miss() -> Callable[[Cache], None]:
    """As a write does it that finds nothing."""
    return lambda cache: cache.remove(refer_to(POD, pod("a", 0)))


def list_none(version: int) -> Callable[[Cache], None]:
    return lambda cache: cache.drop_unlisted(POD, set(), version, namespace=None)


@pytest.mark.parametrize(
    ("steps", "version"),
    [
        ((put(3), remove(5), put(3)), None),
        ((remove(5), put(3)), None),
        ((put(3), remove(5), put(5)), None),
        ((put(3), list_none(7), put(3)), None),
        ((remove(5), remove(2), put(4)), None),
        ((put(3), remove(5), put(6)), "6"),
        ((put(6), remove(5)), "6"),
        ((put(3), remove(5), put(6), remove(8), put(6)), None),
        ((put(3), remove(5), put(7, "new"), put(3)), "7"),
        ((put(3), miss(), put(3)), "3"),
    ],
    ids=[
        "what a watch removed is not brought back by a list that began before",
        "nor what was removed before any list told of it",
        "nor by one that tells of the removal's own version",
        "what one list removed is not brought back by another one that began before",
        "a removal is known by its newest version",
        "what has its label again comes back",
        "a watch that is late does not remove what has its label again",
        "what has gone twice stays away",
        "a successor of the same name does not give way",
        "what was missed by a write alone comes back with the next list",
    ],
)
def test_what_is_gone_comes_back_only_as_a_newer_version(
    steps: Sequence[Callable[[Cache], None]], version: str | None
) -> None:
    cache = Cache()
    for step in steps:
        step(cache)
    found = cache.get(POD, "team", "a")
    assert (found and found["metadata"]["resourceVersion"]) == version


def test_what_is_gone_and_stays_away_is_no_news() -> None:
    cache, news = listening()
    for step in (put(3), remove(5), put(3)):
        step(cache)
    assert news == ["a", "a"]


def test_of_very_many_removals_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_MOST_REMOVALS", 2)
    cache = Cache()
    for uid in ("first", "second", "first", "third"):
        remove(5, uid)(cache)
    found = []
    for uid in ("first", "second", "third"):
        cache.put(POD, pod(uid, 3, uid))
        found += [uid] if cache.get(POD, "team", uid) else []
    assert found == ["second"]


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    cache = Cache()
    cache.put(POD, pod("a", 1))
    cache.drop_unlisted(POD, set(), version=10, namespace="other")
    assert names(cache) == ["a"]


def listening() -> tuple[Cache, list[str]]:
    news: list[str] = []
    return Cache(changed=lambda _, item: news.append(item["metadata"]["name"])), news


def test_news_is_what_is_new_changed_or_gone_whoever_brings_it() -> None:
    cache, news = listening()
    for name in ("same", "changed", "gone", "unlisted"):
        cache.put(POD, pod(name, 1))
    assert news == ["same", "changed", "gone", "unlisted"]
    news.clear()
    cache.put(POD, {**pod("changed", 2), "status": {"phase": "Running"}})
    cache.remove(refer_to(POD, pod("gone", 1)))
    cache.drop_unlisted(POD, {("team", "same"), ("team", "changed")}, version=10, namespace=None)
    assert news == ["changed", "gone", "unlisted"]


def test_what_is_known_already_or_differs_in_its_version_alone_is_no_news() -> None:
    cache, news = listening()
    first = pod("a", 5)
    cache.put(POD, first)
    news.clear()
    cache.put(POD, first)
    cache.put(POD, {**pod("a", 4), "status": {"phase": "Pending"}})
    later = pod("a", 6)
    later["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    cache.put(POD, later)
    cache.remove(refer_to(POD, pod("nobody", 1)))
    assert news == []
    found = cache.get(POD, "team", "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "6", "the next write must name the newest version"


def test_what_reads_otherwise_because_its_crd_has_changed_is_news_under_the_same_version() -> None:
    told: list[Any] = []
    cache = Cache(changed=lambda resource, item: told.append(item))
    item = pod("a", 1)
    cache.put(POD, {**item, "spec": {"tier": "gold"}})
    cache.put(POD, item)
    cache.put(POD, item)
    assert [entry.get("spec") for entry in told] == [{"tier": "gold"}, None]
    found = cache.get(POD, "team", "a")
    assert found is not None
    assert "spec" not in found


def test_a_name_that_was_given_to_another_object_is_news() -> None:
    cache, news = listening()
    cache.put(POD, pod("a", 1, uid="old"))
    cache.put(POD, pod("a", 2, uid="new"))
    assert news == ["a", "a"]


def test_what_is_read_is_as_it_was_put_and_belongs_to_the_reader() -> None:
    cache = Cache()
    odd = {**pod("b", 2), "spec": {"text": "\u00e4\ud800", "numbers": [1, 2.5, None, True], "large": "x" * 100_000}}
    for item in (pod("a", 1), odd):
        cache.put(POD, item)
    found = cache.get(POD, "team", "b")
    assert found == odd
    found["spec"].clear()
    assert cache.get(POD, "team", "b") == odd


def test_alike_objects_take_a_fraction_of_their_size() -> None:
    cache = Cache()
    for number in range(50):
        chance = random.Random(1)
        spec = {"words": [chance.randbytes(8).hex() for _ in range(200)], "number": number}
        cache.put(POD, {**pod(f"pod-{number}", number + 1), "spec": spec})
    sizes = [len(kept.packed) for kept in cache._objects[POD].values()]
    assert max(sizes) < 200


def test_of_all_that_a_cluster_holds_only_what_is_ours_is_kept_and_knows_what_it_is() -> None:
    assert take_in(POD, pod("other", 1, owner=None)) is None
    assert take_in(POD, pod("a", 1)) == {"apiVersion": "v1", "kind": "Pod", **pod("a", 1)}
    assert take_in(CUSTOMIZATION_JOB, pod("tickets", 1, owner=None)) is not None
