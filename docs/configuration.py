"""Every key of every job, made of the models that check configurations.

The page of a job holds ``<!-- configuration: JOB -->``; the page above them ``<!-- jobs -->``, and the models that
several jobs use, ``<!-- shared configuration -->``.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from myosotis.engine.config import LocalPath, field_descriptions, models_in
from myosotis.engine.method import NamedConfig
from myosotis.jobs import JOBS, JobKind

_TO_ABSOLUTE, _IS_PATH = LocalPath.__metadata__
_NAMES = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", dict: "mapping", Any: "any"}
SHARED = "../configuration.md"
"""From the page of a job, where the models stand that several use."""
_COLUMNS = "| key | type | default | meaning |\n| --- | --- | --- | --- |"

Use = tuple[str, str]
"""A kind of job, and the dotted key at which it uses a model."""


@functools.cache
def _sections() -> tuple[dict[str, list[type[BaseModel]]], list[type[BaseModel]], dict[type[BaseModel], str]]:
    """Return the models of each job alone, those of several, and where the section of each is, from a job's page."""
    uses = _uses()
    shared = [model for model, places in uses.items() if len({kind for kind, _ in places}) > 1]
    links = {model: f"{SHARED}#{_words(model.__name__, '-')}" for model in shared}
    if len(set(links.values())) != len(links):
        raise ValueError(f"two shared models have one name: {sorted(model.__name__ for model in shared)}")
    alone: dict[str, list[type[BaseModel]]] = {kind: [] for kind in JOBS}
    for model, ((kind, key), *_) in uses.items():
        if model in links:
            continue
        link = f"{kind}.md#{re.sub(r'[ ._]', '-', key)}"
        if link in links.values():  # a key that takes one of two models
            link += "-" + _words(model.__name__, "-")
        links[model] = link
        alone[kind].append(model)
    return alone, shared, links


def job_reference(kind: str) -> str:
    """Return the sections of a job as Markdown: its keys, and those of the models that it alone uses."""
    alone, _, links = _sections()
    here = {model: link.removeprefix(f"{kind}.md") for model, link in links.items()}
    parts = [_job(JOBS[kind], here)]
    titles = [key for model in alone[kind] for used, key in _uses()[model][:1]]
    for model, key in zip(alone[kind], titles, strict=True):
        several = f": {_words(model.__name__, ' ')}" if titles.count(key) > 1 else ""
        parts.append(_section(f"`{key}`{several}", model, here))
    return "\n\n".join(parts)


def shared_reference() -> str:
    """Return the models that several jobs use as Markdown."""
    _, shared, links = _sections()
    uses = _uses()
    here = {model: links[model].removeprefix(SHARED) for model in shared}
    parts = []
    for model in shared:
        places = "; ".join(
            f"[`{kind}`](configuration/{kind}.md): "
            + ", ".join(f"`{key}`" for used, key in uses[model] if used == kind)
            for kind in dict.fromkeys(kind for kind, _ in uses[model])
        )
        title = _words(model.__name__, " ").capitalize()
        parts.append(_section(title, model, here, f"Used by {places}."))
    return "\n\n".join(parts)


def job_list() -> str:
    """Return a list of the jobs, each with its page."""
    return "\n".join(f"- [{kind}](configuration/{kind}.md): {job.summary}" for kind, job in JOBS.items())


@functools.cache
def _uses() -> dict[type[BaseModel], list[Use]]:
    """Return every model below a job, with its places, in the order of reading."""
    uses: dict[type[BaseModel], list[Use]] = {}

    def visit(fields: Mapping[str, FieldInfo], kind: str, prefix: str) -> None:
        for name, field in fields.items():
            for inner in models_in(field.annotation):
                is_new = not any(used == kind for used, _ in uses.get(inner, []))
                uses.setdefault(inner, []).append((kind, prefix + name))
                if is_new:
                    visit(inner.model_fields, kind, f"{prefix}{name}.")

    for kind, job in JOBS.items():
        visit(_own_fields(job), kind, "")
    return uses


def _parent(job: JobKind) -> str | None:
    """Return the kind of the job whose keys a job extends."""
    above = job.schema().__mro__[1:]
    return next((kind for kind, other in JOBS.items() if other.schema() in above), None)


def _own_fields(job: JobKind) -> dict[str, FieldInfo]:
    parent = _parent(job)
    inherited = JOBS[parent].schema().model_fields if parent else {}
    return {
        name: field
        for name, field in job.schema().model_fields.items()
        if name not in inherited or field.annotation != inherited[name].annotation
    }


def _job(job: JobKind, links: Mapping[type[BaseModel], str]) -> str:
    head = job.summary
    parent = _parent(job)
    if parent:
        head += f" It takes all keys of [`{parent}`]({parent}.md), but for these, which are its own or of another kind:"
    rows = [_row(name, field, job.schema(), links) for name, field in _own_fields(job).items()]
    return "\n".join([head, "", _COLUMNS, *rows])


def _section(title: str, model: type[BaseModel], links: Mapping[type[BaseModel], str], note: str = "") -> str:
    text = " ".join(part for part in (_summary(model), note) if part)
    rows = [_row(name, field, model, links) for name, field in model.model_fields.items()]
    section = "\n".join([f"## {title} {{{links[model]}}}", "", text, "", _COLUMNS, *rows])
    return section + _methods(model) if issubclass(model, NamedConfig) else section


def _row(name: str, field: FieldInfo, model: type[BaseModel], links: Mapping[type[BaseModel], str]) -> str:
    kind = type_name(field.annotation, field.metadata, links, optional=field.default is None)
    if name == "name" and issubclass(model, NamedConfig):
        kind = "a name of the table below"
    return f"| `{name}` | {kind} | {_default(field)} | {cell(field.description)} |"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        made = field.default_factory()  # type: ignore[call-arg]
        return f"`{made.name}`" if isinstance(made, NamedConfig) else shown(made)
    return "**required**" if field.default is PydanticUndefined else shown(field.default)


def _methods(model: type[NamedConfig]) -> str:
    """Return the names that a model takes, and the settings of each."""
    found = {name: model.registry.settings_class(name) for name in model.registry}
    hints = {name: get_type_hints(kind, include_extras=True) for name, kind in found.items()}
    fields = {name: {field.name: field for field in dataclasses.fields(kind)} for name, kind in found.items()}
    texts = {name: field_descriptions(kind) for name, kind in found.items()}
    first = next(iter(found))
    common = [
        key
        for key, field in fields[first].items()
        if len(found) > 1
        and all(key in other and other[key].default == field.default for other in fields.values())
        and len({str(hints[name][key]) for name in found}) == 1
    ]

    def row(name: str, shown_name: str, key: str) -> str:
        field, hint = fields[name][key], hints[name][key]
        value = field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]
        kind = type_name(hint, (), {}, optional=value is None)
        return f"| {shown_name} | `{key}` | {kind} | {shown(value)} | {cell(texts[name].get(key))} |"

    rows = [row(first, "every one", key) for key in common]
    for name in found:
        own = [key for key in fields[name] if key not in common]
        rows += [row(name, f"`{name}`", key) for key in own] or [f"| `{name}` | | | | |"]
    return "\n".join(
        [
            "\n\nGive the name alone, or a mapping of `name` and the settings of that name:",
            "\n| name | setting | type | default | meaning |\n| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def type_name(annotation: Any, metadata: Any, links: Mapping[type[BaseModel], str], *, optional: bool = False) -> str:
    """Return a type in words.

    Args:
        annotation: Type.
        metadata: What it is annotated with.
        links: Where the section of each model is.
        optional: Whether ``null`` goes without saying, as it is the default.
    """
    metadata = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata += inner
    metadata = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    if _IS_PATH in metadata:
        return "path" if _TO_ABSOLUTE in metadata else "name or path"
    return _plain_name(annotation, links, optional=optional) + _limits(metadata)


def _plain_name(annotation: Any, links: Mapping[type[BaseModel], str], *, optional: bool) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is NoneType:
        return "`null`"
    if origin in (Union, UnionType):
        kept = [argument for argument in arguments if not (optional and argument is NoneType)]
        return " or ".join(dict.fromkeys(type_name(argument, (), links) for argument in kept))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list):
        inner = [type_name(argument, (), links) for argument in arguments if argument is not Ellipsis]
        if origin is list or Ellipsis in arguments:
            return f"list of {inner[0]}"
        return f"list of {len(inner)}: {', '.join(dict.fromkeys(inner))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {type_name(arguments[0], (), links)} to {type_name(arguments[1], (), links)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_words(annotation.__name__, ' ')}]({links[annotation]})"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(metadata: list[Any]) -> str:
    """Return the limits of a number or of a length, in brackets."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign}\u00a0{getattr(item, name)}" for item in metadata for name, sign in signs.items() if hasattr(item, name)
    ]
    found += ["not empty" for item in metadata if getattr(item, "min_length", None)]
    return f" ({', '.join(found)})" if found else ""


def shown(value: Any) -> str:
    """Return a default as it would be written in YAML."""
    if value is None:
        return "-"
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, str):
        return f"`{value}`" if value == value.strip() and "\n" not in value else f"`{value!r}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
    return f"`{text}`".replace("|", "\\|")


def _summary(model: type[BaseModel]) -> str:
    """Return the docstring of a model without its sections."""
    text = inspect.cleandoc(model.__dict__.get("__doc__") or "")
    return cell(re.split(r"^(?:Attributes|Example|Raises):$", text, flags=re.M)[0])


def cell(text: str | None) -> str:
    """Return the text of a docstring as a cell of a table."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda mark: f"`{mark[1].rpartition('.')[2]}`", " ".join((text or "").split()))
    return text.replace("``", "`").replace("|", "\\|")


def _words(name: str, between: str) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name.removesuffix("Config"))
    return between.join(words or [name]).lower()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in a page when the site is built."""
    markdown = re.sub(r"<!-- configuration: (.+?) -->", lambda mark: job_reference(mark[1]), markdown)
    for mark, text in (("<!-- jobs -->", job_list), ("<!-- shared configuration -->", shared_reference)):
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown
