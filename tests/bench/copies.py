"""Many objects from few: what one job left on the apiserver, made again under other names."""

import copy
import json
from dataclasses import dataclass
from typing import Any

from tests.api.world import Object, World

_KEPT = ("name", "labels", "annotations", "ownerReferences")
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Life:
    """A job, its status included, and the objects that belong to it: workloads before their pods."""

    subject: Object
    children: tuple[tuple[str, Object], ...] = ()
    """With the plural of their resource."""


def read_life(world: World, name: str) -> Life:
    """Reads a job and what it has made. ConfigMaps are left out: the operator does not watch them."""
    children = [(plural, item) for plural in ("jobs", "pytorchjobs", "pods") for item in world.all(plural)]
    subject = world.get("customizationjobs", name)
    if subject is None:
        raise LookupError(name)
    return Life(subject, tuple(children))


def copy_life(world: World, life: Life, name: str) -> None:
    """Makes all of it once more, for a job of another name."""
    names = {life.subject["metadata"]["name"]: name}
    _copy(world, "customizationjobs", life.subject, names)
    for plural, item in life.children:
        _copy(world, plural, item, names)


def _copy(world: World, plural: str, item: Object, names: dict[str, str]) -> None:
    """Makes one object; `names` are replaced in it, and its new uid is added to them."""
    text = json.dumps(item)
    for old, new in names.items():
        text = text.replace(old, new)
    renamed: Object = json.loads(text)
    status: Any = renamed.pop("status", None)
    metadata = {key: value for key, value in renamed["metadata"].items() if key in _KEPT}
    created = world.create(plural, _without_selector(plural, {**renamed, "metadata": metadata}))
    names[item["metadata"]["uid"]] = created["metadata"]["uid"]
    if status:
        world.patch(plural, metadata["name"], {"status": status}, "/status")


def _without_selector(plural: str, item: Object) -> Object:
    """The apiserver makes the selector of a Job by itself."""
    if plural != "jobs":
        return item
    item = copy.deepcopy(item)
    del item["spec"]["selector"]
    labels = item["spec"]["template"]["metadata"]["labels"]
    for label in [label for label in labels if label.rpartition("/")[2] in ("controller-uid", "job-name")]:
        del labels[label]
    return item
