"""``myosotis schema``: the keys of a configuration, as a JSON schema or in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import JobName
from myosotis.jobs import job_named, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel


def schema(
    job: JobName,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="A dotted key, e.g. training: print it and what is below it.")
    ] = None,
) -> None:
    """Print the JSON schema of a job's configuration: every key with its type, range, default and a sentence.

    Editors complete and check YAML with it, e.g. by `# yaml-language-server: $schema=FILE` in the first line. With a
    KEY, print the sentences alone; `.` stands for all keys.
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError

        kind = job_named(job)
        if key is None:
            content = kind.schema().model_json_schema()
            content["title"] = kind.name
            content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
            typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
            return
        known = dict(_described(kind.schema()))
        chosen = {name: text for name, text in known.items() if key == "." or f"{name}.".startswith(f"{key}.")}
        if not chosen:
            raise InputError(f"'{kind.name}' has no key '{key}'; {nearest(key, list(known))}")
        for name, text in chosen.items():
            typer.echo(f"{name}  {text}")


def _described(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every dotted key with its default and its sentence."""
    from myosotis.engine.config import models_in

    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield prefix + name, f"[{default}]  {field.description}"
        for inner in models_in(field.annotation):
            yield from _described(inner, f"{prefix}{name}.")


def _shown(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return getattr(value, "name", None) or "defaults below"
    return json.dumps(value, default=str)
