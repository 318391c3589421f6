"""Objects that nobody would write: specs made from the CRD's schema, and valid ones that somebody has spoiled."""

import copy
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from customizer_operator.api.base import Resource
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.crds import build_crd
from tests.support import samples

Schema = dict[str, Any]
Path = tuple[str, ...]
_QUANTITIES = ("1Gi", "500m", "0", 4, "1e3")
_LARGEST = 2**31 - 1


def spec_schema(kind: type[Resource] = CustomizationJob) -> Schema:
    """Returns the schema of a kind's spec."""
    crd = build_crd(kind)
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def find_fields(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Yields every field, with its schema."""
    for name, child in schema.get("properties", {}).items():
        yield (*path, name), child
        yield from find_fields(child, (*path, name))


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Returns what the schema lets through; rules between fields are not looked at."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from(_QUANTITIES)
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", _LARGEST))
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 1e6), allow_nan=False)
        case "string":
            return _strings(schema)
        case "array":
            return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
        case _:
            return _objects(schema)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", 40), 40)
    if "pattern" not in schema:
        return st.text(min_size=least, max_size=most)
    pattern = st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    return pattern.filter(lambda text: least <= len(text) <= schema.get("maxLength", 1024))


def _objects(schema: Schema) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        return st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=2)
    required = schema.get("required", ())
    children = {name: values(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: child for name, child in children.items() if name in required},
        optional={name: child for name, child in children.items() if name not in required},
    )


@st.composite
def touched(draw: st.DrawFn, examples: list[Schema], fields: list[tuple[Path, Schema]]) -> Schema:
    """Returns the spec of an example in which one or two members are what the schema lets through."""
    spec: Schema = copy.deepcopy(draw(st.sampled_from(examples)))
    # A member that others must accompany, or that excludes others, would be refused.
    near = [(path, schema) for path, schema in fields if len(path) > 1 and _has(spec, path[:-1])]
    for path, schema in draw(st.lists(st.sampled_from(near), min_size=1, max_size=2)):
        _put(spec, path, draw(values(schema)))
    return spec


def _has(spec: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(spec, dict) or name not in spec:
            return False
        spec = spec[name]
    return isinstance(spec, dict)


@st.composite
def jobs(draw: st.DrawFn, fields: list[tuple[Path, Schema]]) -> dict[str, Any]:
    """Returns a valid job of which a few fields have been replaced."""
    job = copy.deepcopy(samples.job())
    for path, schema in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4)):
        place = job["spec"]
        for name in path[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                break
        else:
            place[path[-1]] = draw(values(schema))
    return job


_ODD: tuple[Any, ...] = (
    None, True, "", " ", "0", "-a.", "a" * 300, "../..", "${HOME}", "s3://", "https://x:y@[::1", "\u00fc\u0000",
    "\U0001f600", 0, -1, 1, 3, 7, 2**31 - 1, 2**31, 2**63, 0.5, -0.0, 1e308, [], [None], ["a", "a"], [[]], {},
    {"a": 1}, {"name": ""},
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, examples: list[Schema], fields: list[tuple[Path, Schema]]) -> Schema:
    """Returns the spec of an example in which a few members were replaced, added or taken away, rightly or wrongly."""
    spec: Schema = copy.deepcopy(draw(st.sampled_from(examples)))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_find_places(spec))
        act = draw(st.sampled_from(("add", "spoil", "remove")))
        if act == "add" or not places:
            path, schema = draw(st.sampled_from(fields))
            _put(spec, path, draw(values(schema)))
            continue
        holder, key = draw(st.sampled_from(places))
        if act == "spoil":
            holder[key] = copy.deepcopy(draw(st.sampled_from(_ODD)))
        else:
            del holder[key]
    return spec


def _find_places(part: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every member of objects and lists, with what holds it."""
    children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, child in children:
        yield part, key
        yield from _find_places(child)


def _put(spec: Schema, path: Path, value: Any) -> None:
    place = spec
    for name in path[:-1]:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            return
    place[path[-1]] = value
