"""Gathers from the caches all that a decision may know."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from customizer_operator.api.base import Object
from customizer_operator.cache import Cache
from customizer_operator.kinds import Kind
from customizer_operator.plan.plan import Key, Observed, Question, Resource

_MOST_ROUNDS = 3


def observe(kind: Kind, subject: Object, cache: Cache, now: datetime) -> Observed:
    """Returns what the caches know about an object of ours."""
    metadata = subject["metadata"]
    references: Mapping[tuple[Resource, str], Object | None] = {
        (ref.resource, ref.name): cache.get(ref.resource, metadata["namespace"], ref.name)
        for ref in (kind.refers_to(subject) if kind.refers_to is not None else ())
    }
    return Observed(
        subject=subject,
        children=cache.owned_by(Key(kind.resource.plural, metadata["namespace"], metadata["name"])),
        referenced={place: item for place, item in references.items() if item is not None},
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
            if there and any((ref.resource, ref.name) == (resource, name) for ref in kind.refers_to(subject)):
                keys.append(Key(kind.resource.plural, namespace, subject["metadata"]["name"]))
    return keys
