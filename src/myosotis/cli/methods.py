"""``myosotis methods``: every method in a line, or one with its paper, needs and settings."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.jobs import JOBS, nearest

if TYPE_CHECKING:
    from myosotis.engine.registry import Registry


def _tables() -> dict[str, Registry[Any]]:
    return {title: table for job in JOBS.values() if job.available for title, table in job.method_tables().items()}


def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A method, or a job such as 'learn-classes'. Default: list all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards and settings as JSON.")] = False,
) -> None:
    """List the methods, or print one method's paper, needs, and settings with their defaults."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError

        tables = _tables()
        of_job = {title: table for title, table in tables.items() if name == title.partition(",")[0]}
        if name is not None and not of_job:
            tables = {title: table for title, table in tables.items() if name in table}
            if not tables:
                known = [method for table in _tables().values() for method in table]
                raise InputError(f"unknown method '{name}'; {nearest(name, known)}")
            chosen = {title: {name: table} for title, table in tables.items()}
        else:
            chosen = {title: dict.fromkeys(table, table) for title, table in (of_job or tables).items()}
        if as_json:
            content = {title: [_as_json(table, each) for each, table in few.items()] for title, few in chosen.items()}
            typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))
        elif name is None or of_job:
            for title, few in chosen.items():
                typer.echo(title)
                for each, table in few.items():
                    typer.echo(f"  {each:16} {table.card(each).title}; reads {table.card(each).reads}")
            for job in JOBS.values():
                if not job.available and name is None:
                    typer.echo(f"{job.name}: not installed; pip install 'myosotis[{job.extra}]'")
            typer.echo("\n`myosotis methods NAME` prints one with its settings")
        else:
            typer.echo("\n\n".join(_card(title, table, name) for title, table in tables.items()))


def _card(title: str, table: Registry[Any], name: str) -> str:
    card = table.card(name)
    lines = [
        f"{card.title}  ({title}: {name})",
        f"  paper     {card.paper}",
        f"  reads     {card.reads}",
        f"  memory    {card.memory}",
        f"  for       {card.purpose}",
    ]
    settings = _as_json(table, name)["settings"]
    lines += ["  settings" if settings else "  settings  none"]
    for key, setting in settings.items():
        lines.append(f"    {key}: {json.dumps(setting['default'], default=str)}  # {setting['description']}")
    return "\n".join(lines)


def _as_json(table: Registry[Any], name: str) -> dict[str, Any]:
    from myosotis.engine.config import field_descriptions

    kind = table.settings_class(name)
    described = field_descriptions(kind)
    settings = {
        field.name: {"default": _default(field), "description": described.get(field.name, "")}
        for field in dataclasses.fields(kind)
    }
    return {**dataclasses.asdict(table.card(name)), "settings": settings}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()
