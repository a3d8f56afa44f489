"""Methods by name: the cards that ``myosotis methods`` prints, and the check of what a configuration says."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError, model_validator

from myosotis.engine.config import Config, describe_properties, field_descriptions
from myosotis.engine.errors import SettingsError

Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A setting between 0 and 1, both excluded; other ranges are pydantic's own types."""


@dataclass(frozen=True)
class MethodCard:
    """Facts about a method that help to choose one.

    Attributes:
        name: Name in a configuration.
        title: Name in the literature.
        paper: Authors, title, venue, year.
        reads: Data that it needs, e.g. ``"forget, retain"``.
        memory: Memory that it takes beside plain training.
        purpose: When to choose it, in one sentence.
    """

    name: str
    title: str
    paper: str
    reads: str
    memory: str
    purpose: str


class NamedConfig(Config):
    """A method by its name, and its settings beside it; subclasses give ``name`` a default and a registry.

    A configuration may give the name alone. Defaults are filled in: the configuration of a run says all that was done.

    Attributes:
        name: Its name; its settings stand next to it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    registry: ClassVar[Any]
    """The :class:`~myosotis.engine.registry.Registry` that the name is a key of."""

    name: str

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings as a dataclass, or raise ``SettingsError``."""
        return cls.registry.settings(name, settings)

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = {"name": values}
        plain = cls.model_fields["name"].default
        if not isinstance(values, dict) or not isinstance(values.get("name", plain), str):
            return values
        name = values.get("name", plain)
        settings = cls.check(name, {key: value for key, value in values.items() if key != "name"})
        return {"name": name, **vars(settings)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of a name alone, or of a name with the settings that it has."""
        default = cls.model_fields["name"].default
        choices: list[dict[str, Any]] = [{"type": "string", "enum": list(cls.registry)}]
        for name in cls.registry:
            settings = cls.registry.settings_class(name)
            one = dict(handler.resolve_ref_schema(handler(TypeAdapter(settings).core_schema)))
            describe_properties(one, settings, field_descriptions(settings))
            one["properties"] = {"name": {"const": name, "default": name}, **one.get("properties", {})}
            one["required"] = [*(() if name == default else ("name",)), *one.get("required", ())]
            one["description"] = f"{cls.registry.card(name).title}. {cls.registry.card(name).purpose}"
            choices.append({**one, "title": name, "additionalProperties": False})
        return {"anyOf": choices, "description": handler(core_schema).get("description", "")}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


def check_method(
    name: str, settings: Mapping[str, Any], methods: Mapping[str, type[Any]], what: str = "method"
) -> None:
    """Raise ``SettingsError`` unless there is such a method with such settings; the error names the nearest right one.

    Args:
        name: A key of ``methods``.
        settings: By the names of fields.
        methods: Dataclasses by their names.
        what: Name of one of them in errors.
    """
    if name not in methods:
        raise SettingsError(f"unknown {what} '{name}'; {_hint(name, methods)}")
    known = sorted(field.name for field in dataclasses.fields(methods[name]))
    for key in settings:
        if key not in known:
            raise SettingsError(f"{what} '{name}' has no setting '{key}'; {_hint(key, known)}")


def validated(name: str, kind: Any, value: Any, what: str = "method") -> Any:
    """Return ``value`` as pydantic makes it a ``kind``.

    Args:
        name: Name of the method that it belongs to, for the error.
        kind: Type.
        value: Value to convert.
        what: Name of such a method in errors.

    Raises:
        SettingsError: It is not, in one line.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{what} '{name}'{f', {where}' if where else ''}: {message}") from None


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
