"""What the watches have told so far: the newest version of every object, found by name or by owner."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import RLock

from customizer_operator.api.base import DEPLOYMENT_LABEL, JOB_LABEL, Object
from customizer_operator.kinds import Ref
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, MODEL_DEPLOYMENT, Key, Reference, Resource

OWNER_LABELS: Mapping[str, Resource] = {JOB_LABEL: CUSTOMIZATION_JOB, DEPLOYMENT_LABEL: MODEL_DEPLOYMENT}
"""The label that names the object of ours that another object belongs to."""

_NOT_CONTENT = ("resourceVersion", "managedFields")
"""Metadata that no decision looks at."""

_MOST_REMOVALS = 10_000
"""Removals that are remembered: far more than there are while one list or one write is under way."""

Place = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an object of ours without unpacking it."""

    state: str = "Unknown"
    refers_to: tuple[Ref, ...] = ()
    """The objects of ours in the same namespace whose changes matter to it."""


_NO_NOTE = Note()


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
    # The items of a list do not say what they are.
    return {**item, "apiVersion": resource.api_version, "kind": resource.kind}


@dataclass(slots=True)
class _Kept:
    """An object as it is kept: packed without its version, so that two of the same content are the same bytes."""

    version: int
    uid: str
    owners: tuple[Key, ...]
    note: Note
    packed: bytes


class _Packer:
    """Packs the objects of one resource, which look much alike: what the first one held need not be written again."""

    def __init__(self, first: Object) -> None:
        self._known = _write(first)

    def pack(self, item: Object) -> bytes:
        packer = zlib.compressobj(zdict=self._known)
        return packer.compress(_write(item)) + packer.flush()

    def unpack(self, packed: bytes, version: int) -> Object:
        item: Object = json.loads(zlib.decompressobj(zdict=self._known).decompress(packed))
        item["metadata"]["resourceVersion"] = str(version)
        return item


class _Removals:
    """Which objects are gone, and up to which of their versions; of very many, the newest."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def add(self, uid: str, version: int) -> None:
        """Notes that an object is gone at a version of its resource."""
        # Not for good: to a watch or a list, one is gone, too, whose label went, and that can come back.
        self._versions[uid] = max(version, self._versions.pop(uid, version))
        if len(self._versions) > _MOST_REMOVALS:
            del self._versions[next(iter(self._versions))]

    def include(self, uid: str, version: int) -> bool:
        """Tells whether a version of an object is from before its removal."""
        return version <= self._versions.get(uid, -1)


class Cache:
    """Objects by resource, namespace and name.

    Three hands write to it: watches, the answers to our own writes, and lists. An older version never replaces a
    newer one, whichever hand brings it, nor does it bring back what is gone since: a list takes long, and watches tell
    meanwhile. Whichever hand brings it, `changed` is told of what no decision has seen yet: an object that is new,
    gone, or of another content. What differs in its version alone is no news.

    Objects are kept packed, since a cluster has thousands that nobody looks at for days; every reading hand gets an
    object of its own. Threads may share the cache; `changed` is called by the thread that brought the news.
    """

    def __init__(
        self,
        *,
        take_note: Callable[[Resource, Object], Note] = lambda resource, item: _NO_NOTE,
        changed: Callable[[Resource, Object], object] = lambda resource, item: None,
    ) -> None:
        self._take_note = take_note
        self._changed = changed
        self._objects: dict[Resource, dict[Place, _Kept]] = {}
        self._packers: dict[Resource, _Packer] = {}
        self._owned: dict[Key, set[tuple[Resource, str]]] = {}
        self._removals = _Removals()
        self._lock = RLock()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Returns an object, or None."""
        with self._lock:
            kept = self._objects.get(resource, {}).get((namespace, name))
        return None if kept is None else self._unpack(resource, kept)

    def notes(self, resource: Resource) -> Iterator[tuple[Place, Note]]:
        """Yields what is known of every object of a resource without unpacking it."""
        with self._lock:
            kept = list(self._objects.get(resource, {}).items())
        return ((place, item.note) for place, item in kept)

    def owned_by(self, owner: Key) -> dict[Resource, tuple[Object, ...]]:
        """Returns the objects that carry the owner's label, by resource, in the order of their names."""
        with self._lock:
            found: dict[Resource, list[_Kept]] = {}
            for resource, name in sorted(self._owned.get(owner, ()), key=lambda item: (item[0].plural, item[1])):
                found.setdefault(resource, []).append(self._objects[resource][owner.namespace, name])
        return {resource: tuple(self._unpack(resource, kept) for kept in items) for resource, items in found.items()}

    def put(self, resource: Resource, item: Object) -> None:
        """Keeps an object unless a newer version is here, or was here and is gone.

        One version reads otherwise after its CRD has changed.
        """
        place, uid, version = find_place(item), item["metadata"]["uid"], read_version(item)
        with self._lock:
            if self._removals.include(uid, version):
                return
            kept = self._objects.setdefault(resource, {})
            old = kept.get(place)
            if old is not None and old.version > version:
                return
            if resource not in self._packers:
                self._packers[resource] = _Packer(item)
            new = _Kept(
                version,
                uid,
                tuple(find_owners(item)),
                self._take_note(resource, item),
                self._packers[resource].pack(item),
            )
            if old is not None:
                self._forget_owners(resource, old, place[1])
            kept[place] = new
            for owner in new.owners:
                self._owned.setdefault(owner, set()).add((resource, place[1]))
        if old is None or old.packed != new.packed:
            self._changed(resource, item)

    def remove(self, reference: Reference, version: int | None = None) -> None:
        """Drops an object that went at a version, unless it was made anew or is here again; what is older stays away.

        Who cannot tell the version may have been told wrong, and the next list brings the object back.
        """
        with self._lock:
            gone = self._drop(reference, version)
        if gone is not None:
            self._changed(reference.resource, self._unpack(reference.resource, gone))

    def drop_unlisted(self, resource: Resource, listed: set[Place], version: int, namespace: str | None) -> None:
        """Drops what a list (of a namespace, or of all) did not hold; what came after the list's version stays."""
        with self._lock:
            unlisted = [
                Reference(resource, *place, old.uid)
                for place, old in self._objects.get(resource, {}).items()
                if place not in listed and old.version <= version and namespace in (None, place[0])
            ]
            gone = [kept for reference in unlisted if (kept := self._drop(reference, version)) is not None]
        for kept in gone:
            self._changed(resource, self._unpack(resource, kept))

    def _drop(self, reference: Reference, version: int | None) -> _Kept | None:
        if version is not None:
            self._removals.add(reference.uid, version)
        place = (reference.namespace, reference.name)
        old = self._objects.get(reference.resource, {}).get(place)
        if old is None or old.uid != reference.uid or (version is not None and old.version > version):
            return None
        del self._objects[reference.resource][place]
        self._forget_owners(reference.resource, old, reference.name)
        return old

    def _unpack(self, resource: Resource, kept: _Kept) -> Object:
        return self._packers[resource].unpack(kept.packed, kept.version)

    def _forget_owners(self, resource: Resource, old: _Kept, name: str) -> None:
        for owner in old.owners:
            names = self._owned.get(owner, set())
            names.discard((resource, name))
            if not names:
                self._owned.pop(owner, None)


def find_place(item: Object) -> Place:
    """Returns where an object is."""
    return item["metadata"]["namespace"], item["metadata"]["name"]


def read_version(item: Object) -> int:
    """Resource versions of one resource are integers that grow (Kubernetes guarantees it since 1.35)."""
    return int(item["metadata"]["resourceVersion"])


def _write(item: Object) -> bytes:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _NOT_CONTENT}
    return json.dumps({**item, "metadata": metadata}, separators=(",", ":")).encode()
