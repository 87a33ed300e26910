"""The base of every settings model, and the field type by which one component is chosen in the TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Settings(BaseModel):
    """Frozen, strict settings: unknown keys and wrong types are errors. Each field has one line of documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Component(Settings):
    """Settings of a part that is chosen by name, as in `[topology] name = "ring"`."""

    name: str
    """Which one: a name that `build.py` knows, or "my_package.my_module:MyClass"."""


class Catalog(Protocol):
    """Finds the settings model of a component; `build.py` has the only one. It is the validation context."""

    def settings_of(self, family: str, name: str) -> type[Component]:
        """The `Config` of component `name`; raises LookupError with the nearest known name."""


@dataclass(frozen=True)
class Family:
    """`Annotated[Component, Family("topology")]`: a field that holds the settings of one component of that family.

    `default` is the component's name when the table gives none.
    """

    name: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.choose,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda component: component.model_dump()),
        )

    def choose(self, value: object, info: ValidationInfo) -> object:
        """The settings of the component that the table `value` names, validated."""
        if isinstance(value, Component):
            return value
        if isinstance(value, str):  # partition = "iid" is short for partition = { name = "iid" }
            value = {"name": value}
        if isinstance(value, Mapping) and self.default is not None:
            value = {"name": self.default, **value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise PydanticCustomError("component", "expected a table with a name, for example { name = ... }")
        catalog: Catalog | None = info.context
        if catalog is None:
            raise TypeError("settings with components are validated with a catalog as context")
        try:
            settings = catalog.settings_of(self.name, value["name"])
        except LookupError as error:
            raise PydanticCustomError("component", "{reason}", {"reason": str(error.args[0])}) from None
        return settings.model_validate(dict(value), context=catalog)


class Named(Settings):
    """A class of a library by name, with its keyword arguments: `{ name = "SGD", lr = 0.1 }`, or only the name."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value
