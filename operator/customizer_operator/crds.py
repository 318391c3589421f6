"""pydantic models in, CustomResourceDefinitions out.

`python -m customizer_operator.crds` writes `crds/*.yaml`; `--check` compares. Whatever the apiserver would drop or
refuse raises `UntranslatableError` here, so that nothing is lost without a word.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from customizer_contract.base import CelRule, Model
from customizer_operator.api.base import CATEGORY, GROUP, IMMUTABLE, VERSION, Resource
from customizer_operator.api.kinds import KINDS

CRDS = Path("crds")
_RULES = "x-customizer-rules"
_IMMUTABLE = next(iter(IMMUTABLE))
_NOISE = {"title", "$defs"}
_KEPT = {
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "multipleOf", "default", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string",
}  # fmt: skip
_FORMATS = {"date-time"}


class UntranslatableError(Exception):
    """A construct that a structural schema cannot say."""


class _Schema(GenerateJsonSchema):
    """pydantic's own generator, which also hands over the rules of each model."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        cls = schema["cls"]
        if issubclass(cls, Model) and cls.cel_rules:
            json_schema[_RULES] = cls.cel_rules
        return json_schema


def build_schema(model: type[Model]) -> dict[str, Any]:
    """Translates a model to a structural schema."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    return _Translator(schema.get("$defs", {})).translate(schema, model.__name__, immutable=False)


def build_crd(kind: type[Resource]) -> dict[str, Any]:
    """Builds the CustomResourceDefinition of a kind."""
    names = kind.names
    parts = build_schema(kind)["properties"]
    schema: dict[str, Any] = {
        "description": (kind.__doc__ or "").strip(),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": f"Always {names.kind}."},
            # Only bounds what rules over the name may cost; the rules themselves say more.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": parts["spec"],
            "status": parts["status"],
        },
    }
    if kind.cel_rules:
        schema["x-kubernetes-validations"] = [_rule(rule) for rule in kind.cel_rules]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": [names.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {
                            "name": column.name,
                            "type": column.type,
                            "jsonPath": column.json_path,
                            "description": column.description,
                            **({"priority": column.priority} if column.priority else {}),
                        }
                        for column in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class _Translator:
    """Turns pydantic's JSON schema into a structural one, part by part."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions

    def translate(self, node: dict[str, Any], path: str, *, immutable: bool) -> dict[str, Any]:
        node = self._flatten(node, path)
        node.pop(_IMMUTABLE, None)
        rules = [_rule(rule) for rule in node.pop(_RULES, ())]
        result: dict[str, Any] = {}
        for key in [key for key in node if key in _NOISE]:
            del node[key]
        for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if flag in node:
                result[bound] = node.pop(flag)
                result[flag] = True
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if node.get("format", "date-time") not in _FORMATS:
            raise UntranslatableError(f"{path}: format {node['format']}")
        if node.get("type") == "object" and "properties" in node:
            required = node.pop("required", [])
            properties = node.pop("properties")
            if node.pop("additionalProperties", False) is not False:
                raise UntranslatableError(f"{path}: properties and additionalProperties exclude each other")
            result["properties"] = {}
            if required:
                result["required"] = required
            for name, raw in properties.items():
                fixed = bool(raw.get(_IMMUTABLE, immutable))
                child = result["properties"][name] = self.translate(raw, f"{path}.{name}", immutable=fixed)
                always_there = name in required or "default" in child
                if fixed and not (always_there and "properties" in child):
                    rules.append(_rule(_unchangeable(name, child, always_there)))
        elif node.get("type") == "object":
            values = node.pop("additionalProperties", None)
            if not isinstance(values, dict):
                raise UntranslatableError(f"{path}: an object without properties; the apiserver would prune all of it")
            result["additionalProperties"] = self.translate(values, f"{path}.*", immutable=False)
        if "items" in node:
            result["items"] = self.translate(node.pop("items"), f"{path}[]", immutable=False)
        if unknown := sorted(set(node) - _KEPT):
            raise UntranslatableError(f"{path}: {', '.join(unknown)}")
        if "type" not in node and "x-kubernetes-int-or-string" not in node:
            raise UntranslatableError(f"{path}: no type")
        if node.get("type") == "array" and "items" not in result:
            raise UntranslatableError(f"{path}: a list whose items have no schema")
        result.update(node)
        if "default" in result:
            result["default"] = _without_nulls(result["default"])
        if rules:
            result["x-kubernetes-validations"] = rules
        return result

    def _flatten(self, node: dict[str, Any], path: str) -> dict[str, Any]:
        """Resolves references and `X or null`; what the field says overrides what the type says."""
        node = dict(node)
        if "anyOf" in node:
            members = [member for member in node.pop("anyOf") if member != {"type": "null"}]
            if len(members) != 1:
                raise UntranslatableError(f"{path}: a union; use optional members and a one-of rule")
            node = {**members[0], **node}
        if node.get("default", 0) is None:
            del node["default"]
        if "$ref" in node:
            name = node.pop("$ref").removeprefix("#/$defs/")
            node = {**self._flatten(self.definitions[name], path), **node}
        return node


def _unchangeable(name: str, child: dict[str, Any], always_there: bool) -> CelRule:
    """The rule that a field keeps its value.

    It stands on the parent, since a rule on an optional field is not evaluated when the field comes or goes. An empty
    list or map equals an absent one: other writers drop empty values, and must not lock the object by that.
    """
    message = f"{name} is part of what the object is made of and cannot change; create a new one"
    now, then = f"self.{name}", f"oldSelf.{name}"
    if always_there:
        rule = f"{now} == {then}"
    elif child.get("type") == "array":
        rule = f"(has({now}) ? {now} : []) == (has({then}) ? {then} : [])"
    elif "additionalProperties" in child:
        rule = f"(has({now}) ? {now} : {{}}) == (has({then}) ? {then} : {{}})"
    elif "properties" in child:
        rule = f"has({now}) == has({then})"
    else:
        rule = f"has({now}) == has({then}) && (!has({now}) || {now} == {then})"
    return CelRule(rule, message, field_path=f".{name}", reason="FieldValueForbidden")


def _rule(rule: CelRule) -> dict[str, str]:
    parts = {
        "rule": rule.rule,
        "message": rule.message,
        "messageExpression": rule.message_expression,
        "fieldPath": rule.field_path,
        "reason": rule.reason,
    }
    return {key: value for key, value in parts.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


class _Dumper(yaml.SafeDumper):
    """Writes values that occur twice in full, never as anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def render() -> dict[str, str]:
    """Renders every CRD: file name to text."""
    return {
        f"{kind.names.plural}.yaml": "# Generated by `make crds` from customizer_operator/api. Do not edit.\n"
        + yaml.dump(build_crd(kind), Dumper=_Dumper, sort_keys=False, width=120)
        for kind in KINDS
    }


def find_drift(folder: Path) -> list[str]:
    """Lists the files of `folder` that differ from what the types say."""
    return [
        name
        for name, text in render().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Writes the CRDs, or compares them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    parser.add_argument("--folder", type=Path, default=CRDS)
    arguments = parser.parse_args()
    if arguments.check:
        drift = find_drift(arguments.folder)
        sys.stdout.write("".join(f"{name} differs from the types: run `make crds`\n" for name in drift))
        return 1 if drift else 0
    arguments.folder.mkdir(exist_ok=True)
    for name, text in render().items():
        (arguments.folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
