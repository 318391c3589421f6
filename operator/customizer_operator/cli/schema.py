"""What the apiserver does with a structural schema: fills in defaults, names unknown fields, checks values."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from customizer_operator.api.base import Object
from customizer_operator.cli.expressions import matches


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is refused."""

    path: str
    message: str
    blocks_rules: bool = False
    """Whether rules cannot be evaluated over a value like this."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def fill_in(value: Any, schema: Object) -> Any:
    """Returns a value as the apiserver stores it: nulls absent, defaults there, numbers of the schema's type."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        filled = {key: item for key, item in value.items() if item is not None}
        for key, child in properties.items():
            if "default" in child and key not in filled:
                filled[key] = copy.deepcopy(child["default"])
        others = schema.get("additionalProperties", {})
        return {key: fill_in(item, properties.get(key, others)) for key, item in filled.items()}
    if isinstance(value, list):
        return [fill_in(item, schema.get("items", {})) for item in value]
    if schema.get("type") == "number" and _is_number(value):
        return float(value)
    if schema.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def find_unknown(value: Any, schema: Object, path: str = "") -> Iterator[Refusal]:
    """Finds the fields that the schema does not know."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            child = properties.get(key, others)
            if child is None:
                yield Refusal("", f'unknown field "{_join(path, key)}"', blocks_rules=True)
            else:
                yield from find_unknown(item, child, _join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_unknown(item, schema.get("items", {}), f"{path}[{index}]")


def find_mistakes(value: Any, schema: Object, path: str = "") -> Iterator[Refusal]:
    """Checks a value, and all that is in it, against types, bounds, patterns and enumerations."""
    if not _has_type(value, schema):
        wanted = schema.get("type", "integer or string")
        yield Refusal(path, f"Invalid value: must be of type {wanted}", blocks_rules=True)
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(f'"{entry}"' for entry in schema["enum"])
        yield Refusal(path, f'Unsupported value: "{value}": supported values: {supported}', blocks_rules=True)
    match value:
        case bool():
            pass
        case str():
            yield from _check_text(value, schema, path)
        case int() | float():
            yield from _check_number(value, schema, path)
        case list():
            if len(value) > schema.get("maxItems", math.inf):
                yield _too(path, "Too many", f"must have at most {schema['maxItems']} items")
            if len(value) < schema.get("minItems", 0):
                yield Refusal(path, f"Invalid value: should have at least {schema['minItems']} items")
            for index, item in enumerate(value):
                yield from find_mistakes(item, schema.get("items", {}), f"{path}[{index}]")
        case dict():
            if len(value) > schema.get("maxProperties", math.inf):
                yield _too(path, "Too many", f"must have at most {schema['maxProperties']} items")
            for key in schema.get("required", ()):
                if key not in value:
                    yield Refusal(_join(path, key), "Required value", blocks_rules=True)
            for key, item in value.items():
                child = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
                if child is not None:
                    yield from find_mistakes(item, child, _join(path, key))


def _check_text(value: str, schema: Object, path: str) -> Iterator[Refusal]:
    if len(value) > schema.get("maxLength", math.inf):
        yield _too(path, "Too long", f"may not be more than {schema['maxLength']} bytes")
    if len(value) < schema.get("minLength", 0):
        least = schema["minLength"]
        yield Refusal(path, f'Invalid value: "{value}": {path} in body should be at least {least} chars long')
    if "pattern" in schema and not matches(value, schema["pattern"]):
        yield Refusal(path, f"Invalid value: \"{value}\": {path} in body should match '{schema['pattern']}'")


def _check_number(value: float, schema: Object, path: str) -> Iterator[Refusal]:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
    if value < least or (above and value == least):
        words = "should be greater than" if above else "should be greater than or equal to"
        yield Refusal(path, f"Invalid value: {value}: {path} in body {words} {least}")
    if value > most or (below and value == most):
        words = "should be less than" if below else "should be less than or equal to"
        yield Refusal(path, f"Invalid value: {value}: {path} in body {words} {most}")


def _has_type(value: Any, schema: Object) -> bool:
    match schema.get("type"):
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return _is_number(value)
        case _:
            whole = isinstance(value, int) and not isinstance(value, bool)
            return not schema.get("x-kubernetes-int-or-string") or whole or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _too(path: str, what: str, words: str) -> Refusal:
    return Refusal(path, f"{what}: {words}", blocks_rules=True)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
