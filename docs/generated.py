"""Parts of pages that are made of the code: lists of methods from their cards, keys of results from their models.

A page holds ``<!-- methods: learn-classes -->`` where the methods of a job are listed, ``<!-- reads: JOB -->`` to list
them by what they read, ``<!-- result: KIND -->`` where the keys of its ``result.json`` are listed, and
``<!-- readme: HEADING -->`` for a table of the README.
The JSON schema of every result is ``schemas/result-KIND.json`` of the site.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from myosotis.engine.result import Result
from myosotis.jobs import JOBS

PAGES = {
    "learn-classes": "class-incremental.md",
    "learn-segments": "segmentation.md",
    "learn-representations": "selfsupervised.md",
    "learn-representations, base": "selfsupervised.md",
    "pretrain, objective": "pretraining.md",
    "pretrain, masker": "pretraining.md",
    "denoise-train": "denoising.md",
    "unlearn-classifier": "instance-baselines.md",
}
"""Page of the cards of a job, beside the list; methods with a page of their own are linked to it."""
_BOOSTS = {"faq.md": 4, "guides": 2, "reference": 0.25}
"""Weights in the search, by file or folder; others have 1."""
_OWN_PAGES = {"adv": "l2ul.md", "adv_imp": "l2ul.md"}


def method_table(title: str, folder: Path) -> str:
    """Return the methods of a job as a table.

    Args:
        title: Kind of job and name of the choice, e.g. ``"pretrain, masker"``.
        folder: Folder of the pages of methods.
    """
    tables = {name: table for job in JOBS.values() for name, table in job.method_tables().items()}
    rows = []
    for name, kind in tables[title].items():
        card = kind.card
        page = _OWN_PAGES.get(name, f"{name}.md")
        page = page if (folder / page).is_file() else PAGES.get(title, "")
        shown = f"[`{name}`]({page})" if page else f"`{name}`"
        rows.append(f"| {shown} | {card.title} | {card.reads} | {card.memory} | {card.purpose} |")
    return "\n".join(
        ["| name | method | reads | memory beside training | for |", "| --- | --- | --- | --- | --- |", *rows]
    )


def reads_table(title: str) -> str:
    """Return the methods of a job by the data that they read, as a table.

    Args:
        title: Kind of job and name of the choice.
    """
    tables = {name: table for job in JOBS.values() for name, table in job.method_tables().items()}
    methods: dict[str, list[str]] = {}
    for name, kind in tables[title].items():
        methods.setdefault(kind.card.reads, []).append(f"`{name}`")
    rows = [f"| {reads} | {', '.join(names)} |" for reads, names in methods.items()]
    return "\n".join(["| reads | methods |", "| --- | --- |", *rows])


def readme_table(heading: str, root: Path) -> str:
    """Return the first table below a heading of the README, with links from the folder of the pages.

    Args:
        heading: The heading.
        root: Folder of the README.
    """
    section = (root / "README.md").read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    if table is None:
        raise ValueError(f"the README has no table below {heading}")
    return table[0].replace("](docs/", "](")


def result_model(kind: str) -> type[Result]:
    """Return the model of the results of a kind."""
    model: type[Result] = JOBS[kind].job_class().Result
    return model


def result_table(kind: str) -> str:
    """Return the keys of a result that its head does not have, as a table."""
    rows = [f"| `{key}` | {text} |" for key, text in _keys(result_model(kind)) if key not in Result.model_fields]
    return "\n".join(["| key | content |", "| --- | --- |", *rows])


def head_table() -> str:
    """Return the keys that all results share, as a table."""
    return "\n".join(["| key | content |", "| --- | --- |", *(f"| `{key}` | {text} |" for key, text in _keys(Result))])


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split()).replace("``", "`").replace("|", "\\|")
        yield prefix + name, text
        inner = next(_models(field.annotation), None)
        if inner is not None:
            yield from _keys(inner, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def filled(markdown: str, folder: Path) -> str:
    """Return a page with its generated parts.

    Args:
        markdown: Text of the page.
        folder: Folder of the pages of methods.
    """
    markdown = re.sub(r"<!-- methods: (.+?) -->", lambda mark: method_table(mark[1], folder), markdown)
    markdown = re.sub(r"<!-- reads: (.+?) -->", lambda mark: reads_table(mark[1]), markdown)
    markdown = re.sub(r"<!-- readme: (.+?) -->", lambda mark: readme_table(mark[1], folder.parents[1]), markdown)
    markdown = re.sub(r"<!-- result: (.+?) -->", lambda mark: result_table(mark[1]), markdown)
    return markdown.replace("<!-- result head -->", head_table())


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Fill in a page when the site is built, and keep a figure in a table on one line with its interval.

    The search shows what people read first before the reference.
    """
    page.meta["search"] = {"boost": _BOOSTS.get(page.file.src_uri.partition("/")[0], 1)}
    markdown = filled(markdown, Path(config.docs_dir) / "methods")
    return re.sub(r"^\|.*$", lambda row: row[0].replace(" ± ", "&nbsp;±&nbsp;"), markdown, flags=re.MULTILINE)


def on_post_build(*, config: Any, **_: Any) -> None:
    """Write the JSON schema of every result."""
    folder = Path(config.site_dir) / "schemas"
    folder.mkdir(exist_ok=True)
    for job in JOBS.values():
        schema = json.dumps(result_model(job.name).model_json_schema(), indent=2)
        (folder / f"result-{job.name}.json").write_text(schema + "\n")
