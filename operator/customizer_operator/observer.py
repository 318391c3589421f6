"""Gathers from the caches all that a decision may know."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from customizer_operator.api.base import Object
from customizer_operator.cache import Cache, Note, find_owners
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


def ask(
    kind: Kind, observed: Observed, answer: Callable[[Sequence[Question]], Mapping[Question, object]]
) -> tuple[Observed, list[Question]]:
    """Returns the same with what its decision asks for, and the questions that `answer` has left open.

    An answer may lead to further questions.
    """
    for _ in range(_MOST_ROUNDS):
        questions = [question for question in kind.ask(observed) if question not in observed.answers]
        if not questions:
            break
        answers = answer(questions)
        observed = observed.with_answers({**observed.answers, **answers})
        if left := [question for question in questions if question not in answers]:
            return observed, left
    return observed, []


def build_note_taker(kinds: Iterable[Kind]) -> Callable[[Resource, Object], Note]:
    """Returns what notes for the cache what must be known of all objects of ours at any time."""
    by_resource = {kind.resource: kind for kind in kinds}
    nothing = Note()

    def take_note(resource: Resource, item: Object) -> Note:
        kind = by_resource.get(resource)
        if kind is None:
            return nothing
        refers_to = kind.refers_to(item) if kind.refers_to is not None else ()
        return Note((item.get("status") or {}).get("state", nothing.state), tuple(refers_to))

    return take_note


def find_keys_to_wake(kinds: Iterable[Kind], cache: Cache, resource: Resource, item: Object) -> list[Key]:
    """Returns the objects of ours that must be looked at when an object has changed, one of ours or a child of one."""
    kinds = tuple(kinds)
    if all(resource != kind.resource for kind in kinds):
        return find_owners(item)
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    keys = [Key(resource.plural, namespace, name)]
    for kind in kinds:
        if kind.refers_to is None:
            continue
        for place, note in cache.notes(kind.resource):
            there = place[0] == namespace
            if there and any(ref.resource == resource and ref.means(name) for ref in note.refers_to):
                keys.append(Key(kind.resource.plural, namespace, place[1]))
    return keys


def _find_meant(cache: Cache, ref: Ref, namespace: str) -> list[Object]:
    names = [ref.name]
    if ref.name.endswith("*"):
        names = [place[1] for place, _ in cache.notes(ref.resource) if place[0] == namespace and ref.means(place[1])]
    return [item for name in names if (item := cache.get(ref.resource, namespace, name)) is not None]
