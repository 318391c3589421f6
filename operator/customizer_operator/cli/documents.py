"""Manifests as kubectl reads them: YAML documents in, objects out."""

import json
import re
import sys
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from customizer_operator.api.base import Object

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class UnreadableError(Exception):
    """What was named holds no objects; the message says why."""


class _Loader(yaml.SafeLoader):
    """Reads what kubectl reads: 1e-4 is a number, a date is a string, and a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [_name(self.construct_object(key, deep=True)) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UnreadableError(f"line {node.start_mark.line + 1}: key {key} stands there twice")
        return {_name(key): value for key, value in super().construct_mapping(node, deep=deep).items()}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _name(key: Hashable) -> str:
    """Returns a key as JSON has it."""
    return key if isinstance(key, str) else json.dumps(key)


def read(names: Iterable[str]) -> list[Object]:
    """Reads the objects of files, `-` being standard input. Raises UnreadableError."""
    return [item for name in names for item in _parse(name, _read_text(name))]


def read_json(name: str) -> Object:
    """Reads a file that holds one JSON object. Raises UnreadableError."""
    try:
        document = json.loads(_read_text(name))
    except ValueError as error:
        raise UnreadableError(f"{name}: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableError(f"{name}: not a JSON object")
    return document


def _read_text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{name}: {error}") from error


def _parse(name: str, text: str) -> list[Object]:
    try:
        items = [item for item in yaml.load_all(text, _Loader) if item is not None]
    except (yaml.YAMLError, UnreadableError) as error:
        raise UnreadableError(f"{name}: {error}") from error
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("apiVersion"), str) or "kind" not in item:
            raise UnreadableError(f"{name}: not a Kubernetes object: apiVersion and kind are missing")
    return items
