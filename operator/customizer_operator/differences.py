"""Comparisons of JSON values. Pure."""

from typing import Any


def is_within(desired: Any, present: Any) -> bool:
    """Tells whether all that is desired is there; what the apiserver or others have added does not matter."""
    if isinstance(desired, dict):
        return isinstance(present, dict) and all(
            key in present and is_within(value, present[key]) for key, value in desired.items()
        )
    if isinstance(desired, list):
        return (
            isinstance(present, list)
            and len(desired) == len(present)
            and all(is_within(left, right) for left, right in zip(desired, present, strict=True))
        )
    return bool(desired == present)


def merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON merge patch that turns `old` into `new`: keys that must vanish are null."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if before != value:
                patch[key] = merge_patch(before, value)
        elif before != value:
            patch[key] = value
    return patch
