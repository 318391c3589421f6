"""The cache: the newest version wins, whoever brings it."""

from typing import Any

from customizer_operator.api.base import JOB_LABEL
from customizer_operator.cache import Cache, take_in
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, POD, Key

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
    cache.remove(POD, pod("a", 6, uid="old"))
    assert names(cache) == ["a"]
    cache.remove(POD, pod("a", 6, uid="new"))
    assert names(cache) == []


def test_a_list_tells_what_was_news() -> None:
    cache = Cache()
    for name in ("same", "changed", "gone"):
        cache.put(POD, pod(name, 1))
    news = cache.replace(POD, [pod("same", 1), pod("changed", 2), pod("new", 3)], 9, None)
    assert [item["metadata"]["name"] for item in news] == ["changed", "new", "gone"]


def test_a_list_drops_what_is_gone_and_keeps_what_came_later() -> None:
    cache = Cache()
    cache.put(POD, pod("gone", 3))
    cache.put(POD, pod("stays", 3))
    cache.put(POD, pod("newer", 12))
    cache.replace(POD, [pod("stays", 3), pod("added", 8)], version=10, namespace=None)
    assert names(cache) == ["added", "newer", "stays"]


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    cache = Cache()
    cache.put(POD, pod("a", 1))
    cache.replace(POD, [], version=10, namespace="other")
    assert names(cache) == ["a"]
    assert cache.all(CUSTOMIZATION_JOB) == []


def test_of_all_that_a_cluster_holds_only_what_is_ours_is_kept_and_knows_what_it_is() -> None:
    mine = pod("a", 1)
    mine["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    assert take_in(POD, pod("other", 1, owner=None)) is None
    assert take_in(POD, mine) == {"apiVersion": "v1", "kind": "Pod", **pod("a", 1)}
    assert take_in(CUSTOMIZATION_JOB, pod("tickets", 1, owner=None)) is not None
