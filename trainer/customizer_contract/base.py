"""The base of every model that crosses a process: camelCase on the wire, strict, immutable."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True)
class CelRule:
    """A rule that the apiserver checks (`x-kubernetes-validations`); the message says what to change."""

    rule: str
    message: str
    message_expression: str | None = None
    field_path: str | None = None
    reason: str | None = None


class Model(BaseModel):
    """A value on the wire. A field's docstring becomes its description in the CRD, so in `kubectl explain`."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    cel_rules: ClassVar[tuple[CelRule, ...]] = ()
    """Rules over this object, in the words of the CRD (`self.fieldName`)."""

    def to_json(self) -> str:
        """Renders the wire form: camelCase keys, unset optional fields left out, stable order."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
