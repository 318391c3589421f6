"""What the watches have told so far: the newest version of every object, found by name or by owner."""

from collections.abc import Iterable, Mapping
from threading import RLock

from customizer_operator.api.base import DEPLOYMENT_LABEL, JOB_LABEL, Object
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, MODEL_DEPLOYMENT, Key, Resource

OWNER_LABELS: Mapping[str, Resource] = {JOB_LABEL: CUSTOMIZATION_JOB, DEPLOYMENT_LABEL: MODEL_DEPLOYMENT}
"""The label that names the object of ours that another object belongs to."""


def find_owners(item: Object) -> list[Key]:
    """Returns the objects of ours whose label an object carries."""
    metadata = item["metadata"]
    labels = metadata.get("labels") or {}
    return [
        Key(resource.plural, metadata["namespace"], labels[label])
        for label, resource in OWNER_LABELS.items()
        if label in labels
    ]


def take_in(resource: Resource, item: Object) -> Object | None:
    """Returns what is kept of an object; None for one that is neither ours nor belongs to one of ours.

    A cluster has many pods, and few of them are ours.
    """
    if resource not in OWNER_LABELS.values() and not find_owners(item):
        return None
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    # The items of a list do not say what they are.
    return {**item, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


class Cache:
    """Objects by resource, namespace and name.

    Three hands write to it: watches, the answers to our own writes, and lists. An older version never replaces a
    newer one, whichever hand brings it. Threads may share it.
    """

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._owned: dict[Key, set[tuple[Resource, str]]] = {}
        self._lock = RLock()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Returns an object, or None."""
        with self._lock:
            return self._objects.get(resource, {}).get((namespace, name))

    def all(self, resource: Resource) -> list[Object]:
        """Returns every object of a resource."""
        with self._lock:
            return list(self._objects.get(resource, {}).values())

    def owned_by(self, owner: Key) -> dict[Resource, tuple[Object, ...]]:
        """Returns the objects that carry the owner's label, by resource, in the order of their names."""
        with self._lock:
            found: dict[Resource, list[Object]] = {}
            for resource, name in sorted(self._owned.get(owner, ()), key=lambda item: (item[0].plural, item[1])):
                found.setdefault(resource, []).append(self._objects[resource][owner.namespace, name])
            return {resource: tuple(items) for resource, items in found.items()}

    def put(self, resource: Resource, item: Object) -> bool:
        """Keeps an object unless a newer version is here; tells whether it was news."""
        with self._lock:
            place = _place(item)
            old = self._objects.setdefault(resource, {}).get(place)
            if old is not None:
                if _version(old) > _version(item):
                    return False
                self._forget_owners(resource, old)
            self._objects[resource][place] = item
            for owner in find_owners(item):
                self._owned.setdefault(owner, set()).add((resource, place[1]))
            return old is None or _version(old) != _version(item)

    def remove(self, resource: Resource, item: Object) -> None:
        """Drops an object, unless it was made anew since."""
        with self._lock:
            old = self._objects.get(resource, {}).get(_place(item))
            if old is not None and old["metadata"]["uid"] == item["metadata"]["uid"]:
                del self._objects[resource][_place(item)]
                self._forget_owners(resource, old)

    def replace(self, resource: Resource, items: Iterable[Object], version: int, namespace: str | None) -> list[Object]:
        """Takes over a list (of a namespace, or of all) as it was at `version`; what came later stays.

        Returns what was news: objects that are new or changed, and those that are gone.
        """
        with self._lock:
            listed = {_place(item): item for item in items}
            news = [item for item in listed.values() if self.put(resource, item)]
            for place, old in list(self._objects.get(resource, {}).items()):
                in_scope = namespace is None or place[0] == namespace
                if in_scope and place not in listed and _version(old) <= version:
                    self.remove(resource, old)
                    news.append(old)
            return news

    def _forget_owners(self, resource: Resource, item: Object) -> None:
        for owner in find_owners(item):
            names = self._owned.get(owner, set())
            names.discard((resource, item["metadata"]["name"]))
            if not names:
                self._owned.pop(owner, None)


def _place(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _version(item: Object) -> int:
    """Resource versions of one resource are integers that grow (Kubernetes guarantees it since 1.35)."""
    return int(item["metadata"]["resourceVersion"])
