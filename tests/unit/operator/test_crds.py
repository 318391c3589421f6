"""The translator from pydantic to structural schemas."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.base import IMMUTABLE, MUTABLE
from customizer_operator.api.common import Quantity
from customizer_operator.crds import UntranslatableError, build_schema, find_drift, render

CRDS = Path(__file__).parents[3] / "crds"


class Inner(Model):
    """What an inner one says."""

    size: int = Field(3, gt=0)
    note: str | None = None


def translate(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """Translates a model of one field `it`, and returns that field's schema."""
    body = {"__annotations__": {"it": annotation}, "__module__": __name__, "it": default}
    if default is ...:
        del body["it"]
    return dict(build_schema(type("Outer", (Model,), body))["properties"]["it"])


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (str, ..., {"type": "string"}),
        (int | None, None, {"type": "integer"}),
        (Annotated[float, Field(gt=0, le=1)], 0.5, {
            "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "default": 0.5,
        }),
        (Literal["only"], "only", {"type": "string", "enum": ["only"], "default": "only"}),
        (list[str], ..., {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], ..., {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
    ids=["plain", "optional", "exclusive bounds", "constant", "list", "map"],
)  # fmt: skip
def test_what_a_structural_schema_can_say_is_said(annotation: Any, default: Any, schema: dict[str, Any]) -> None:
    assert translate(annotation, default) == schema


def test_a_nested_model_is_inlined_with_its_whole_default_and_its_description() -> None:
    assert translate(Inner, Inner()) == {
        "description": "What an inner one says.",
        "type": "object",
        "properties": {
            "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "default": 3},
            "note": {"type": "string"},
        },
        "default": {"size": 3},
    }


def test_a_quantity_is_a_number_or_a_string() -> None:
    schema = translate(Quantity)
    assert schema["x-kubernetes-int-or-string"] is True
    assert "type" not in schema


@pytest.mark.parametrize(
    "annotation",
    [set[str], tuple[int, str], int | str, dict[str, Any], Any, bytes, list[Any]],
    ids=["set", "tuple", "union", "free map", "anything", "bytes", "list of anything"],
)
def test_what_the_apiserver_would_drop_or_refuse_is_refused_here(annotation: Any) -> None:
    with pytest.raises(UntranslatableError, match=r"Outer\.it"):
        translate(annotation)


class _Fixed(Model):
    must: str
    may: str | None = None
    names: list[str] | None = None
    inner: Inner = Inner()
    optional: Inner | None = None
    free: str | None = Field(None, json_schema_extra=MUTABLE)


class _Holder(Model):
    it: _Fixed = Field(json_schema_extra=IMMUTABLE)
    open: str = "x"


def test_an_immutable_field_gets_a_rule_for_every_leaf_that_survives_dropped_empty_values() -> None:
    schema = build_schema(_Holder)
    rules = {rule["fieldPath"]: rule["rule"] for rule in schema["properties"]["it"]["x-kubernetes-validations"]}
    assert rules == {
        ".must": "self.must == oldSelf.must",
        ".may": "has(self.may) == has(oldSelf.may) && (!has(self.may) || self.may == oldSelf.may)",
        ".names": "(has(self.names) ? self.names : []) == (has(oldSelf.names) ? oldSelf.names : [])",
        ".optional": "has(self.optional) == has(oldSelf.optional)",
    }
    inner = schema["properties"]["it"]["properties"]["inner"]["x-kubernetes-validations"]
    assert inner[0]["rule"] == "self.size == oldSelf.size"
    assert "x-kubernetes-validations" not in schema


def test_the_rules_of_a_model_are_part_of_its_schema() -> None:
    class Ruled(Model):
        low: int
        high: int
        cel_rules = (CelRule("self.low <= self.high", "raise high"),)

    assert build_schema(Ruled)["x-kubernetes-validations"] == [
        {"rule": "self.low <= self.high", "message": "raise high"}
    ]


def test_the_files_in_crds_are_what_the_types_say() -> None:
    assert find_drift(CRDS) == [], "run `make crds`"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    for name, text in render().items():
        (tmp_path / name).write_text(text)
    changed = next(iter(render()))
    (tmp_path / changed).write_text("")
    assert find_drift(tmp_path) == [changed]
