"""Gathers from the caches all that a decision may know."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from customizer_operator.api.base import Object
from customizer_operator.cache import Cache
from customizer_operator.kinds import Kind, Ref
from customizer_operator.plan.plan import Key, Observed, Question, Resource

_MOST_ROUNDS = 3


def observe(kind: Kind, subject: Object, cache: Cache, now: datetime) -> Observed:
    """Returns what the caches know about an object of ours."""
    metadata = subject["metadata"]
    references: dict[tuple[Resource, str], Object] = {}
    for ref in kind.refers_to(subject) if kind.refers_to is not None else ():
        for item in _find_meant(cache, ref, metadata["namespace"]):
            references[ref.resource, item["metadata"]["name"]] = item
    return Observed(
        subject=subject,
        children=cache.owned_by(Key(kind.resource.plural, metadata["namespace"], metadata["name"])),
        referenced=references,
        now=now,
    )


def ask(kind: Kind, observed: Observed, answer: Callable[[Sequence[Question]], Mapping[Question, object]]) -> Observed:
    """Returns the same with what its decision asks for. An answer may lead to further questions."""
    for _ in range(_MOST_ROUNDS):
        questions = [question for question in kind.ask(observed) if question not in observed.answers]
        if not questions:
            break
        observed = observed.with_answers({**observed.answers, **answer(questions)})
    return observed


def find_keys_to_wake(kinds: tuple[Kind, ...], cache: Cache, resource: Resource, item: Object) -> list[Key]:
    """Returns the objects of ours that must be looked at when an object of ours has changed."""
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    keys = [Key(resource.plural, namespace, name)]
    for kind in kinds:
        if kind.refers_to is None:
            continue
        for subject in cache.all(kind.resource):
            there = subject["metadata"]["namespace"] == namespace
            if there and any(ref.resource == resource and ref.means(name) for ref in kind.refers_to(subject)):
                keys.append(Key(kind.resource.plural, namespace, subject["metadata"]["name"]))
    return keys


def _find_meant(cache: Cache, ref: Ref, namespace: str) -> list[Object]:
    if not ref.name.endswith("*"):
        found = cache.get(ref.resource, namespace, ref.name)
        return [] if found is None else [found]
    return [
        item
        for item in cache.all(ref.resource)
        if item["metadata"]["namespace"] == namespace and ref.means(item["metadata"]["name"])
    ]
