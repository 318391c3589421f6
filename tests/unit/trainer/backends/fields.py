"""The fields of a backend's schema, and the effect of each on what the backend is given."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from customizer_contract.base import Model

Effects = Mapping[str, list[tuple[dict[str, Any], str, object]]]
"""By the path of a field: blocks of the job, a path in what the backend is given, and what is found there."""


def leaves(model: type[Model], prefix: str = "") -> Iterator[str]:
    """Yields the path of every field that holds a value."""
    for field in model.model_fields.values():
        members = (field.annotation, *get_args(field.annotation))
        inner = next((each for each in members if isinstance(each, type) and issubclass(each, Model)), None)
        path = f"{prefix}{field.alias}"
        if inner is None:
            yield path
        else:
            yield from leaves(inner, f"{path}.")


def find(given: Any, path: str) -> Any:
    """Follows a dotted path; a part that is not there is None."""
    for name in path.split("."):
        given = given.get(name) if isinstance(given, dict) else getattr(given, name, None)
    return given


def names(blocks: Any, path: str) -> bool:
    """Tells whether the blocks set the field; a case that does not cannot show its effect."""
    for name in path.split("."):
        if not isinstance(blocks, dict) or name not in blocks:
            return False
        blocks = blocks[name]
    return True
