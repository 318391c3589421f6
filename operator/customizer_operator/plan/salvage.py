"""Reads what another release wrote: what makes no sense is left out, and all the rest is kept."""

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from customizer_operator.api.base import Object

M = TypeVar("M", bound=BaseModel)


def salvage(model: type[M], item: Object) -> M:
    """Parses an object of optional fields; unknown ones are ignored, and of others the smallest part that is wrong.

    A part without a field that it must have is wrong as a whole.
    """
    left: Any = item
    while True:
        try:
            return model.model_validate(left, extra="ignore")
        except ValidationError as error:
            left = left if left is not item else copy.deepcopy(item)
            for problem in error.errors():
                _remove(left, problem["loc"])
            left = _drop_removed(left)


def _remove(root: Any, path: Sequence[int | str]) -> None:
    """Empties the deepest part of the path that is there; everything if nothing of it is."""
    parent, key, value = None, None, root
    for step in path:
        present = (isinstance(value, dict) and step in value) or (isinstance(value, list) and isinstance(step, int))
        if not present:
            break
        parent, key, value = value, step, value[step]
        if value is None:
            return
    if parent is None:
        root.clear()
    else:
        parent[key] = None


def _drop_removed(value: Any) -> Any:
    """Returns the value without what was emptied; only now, since places in lists must not move before."""
    if isinstance(value, dict):
        return {key: _drop_removed(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_drop_removed(item) for item in value if item is not None]
    return value
