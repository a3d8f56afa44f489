"""A model card in the format of Hugging Face, beside the weights that a job publishes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from myosotis.engine.checkpoint import MANIFEST
from myosotis.engine.files import read_json, write_text
from myosotis.engine.run import Run
from myosotis.report.document import Document
from myosotis.report.markdown import markdown_text

_MARK = "<!-- Written by myosotis; remove this line to keep your own changes. -->"
_NOT_FOR_THE_PUBLIC = ("Request", "Received", "Deadline")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LIBRARIES = {"unlearn-language": "transformers", "pretrain": "timm"}


def write_card(document: Document, run: Run) -> None:
    """Write ``model/README.md`` of a finished run, if it has a model.

    A README that the weights came with, or that somebody has edited, is left alone. The manifest of the model does not
    list the card, so the model stays complete with and without it.

    Args:
        document: Report of the run.
        run: The run.
    """
    folder = run.path / "model"
    path = folder / "README.md"
    if not (folder / MANIFEST).is_file() or path.name in read_json(folder / MANIFEST):
        return
    if path.is_file() and _MARK.encode() not in path.read_bytes():
        return
    write_text(path, model_card(document, run.result(), run.settings()))


def model_card(document: Document, result: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the card: what the model is, its verdicts with their figures, its limits, how to load it.

    It holds no data, and of a deletion request neither number nor dates. The licence is left out, as it is not known.

    Args:
        document: Report of the run.
        result: Content of its ``result.json``.
        settings: Its configuration.
    """
    kind = str(result["kind"])
    head: dict[str, Any] = {"library_name": _LIBRARIES.get(kind, "myosotis")}
    base = _base_model(settings)
    if base is not None:
        head["base_model"] = base
    method = result.get("method")
    head["tags"] = ["myosotis", kind, *([str(method)] if method else [])]
    facts = [(name, text) for name, text in document.facts if name not in _NOT_FOR_THE_PUBLIC]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        _MARK,
        "",
        f"# {markdown_text(str(result['name']))}",
        "",
        f"Made by `myosotis {kind.replace('-', ' ', 1)}`. {markdown_text(document.subtitle)}",
        "",
        *(f"- {name}: {markdown_text(text)}" for name, text in facts),
        "",
        "## Verdicts",
        "",
    ]
    for verdict in document.verdicts:
        mark = f"**{verdict.mark.capitalize()}.** " if verdict.mark else ""
        lines += [f"### {markdown_text(verdict.question)}", "", f"{mark}{markdown_text(verdict.answer)}", ""]
    lines += ["## Limits", "", *(f"- {markdown_text(limit)}" for limit in document.limits), ""]
    return "\n".join([*lines, "## How to load", "", *_loading(kind), ""])


def _base_model(settings: Mapping[str, Any]) -> str | None:
    """The name on the hub of the model that came in, where the configuration names one."""
    model = settings.get("model") or {}
    name = model.get("name")
    if name is not None:
        return str(name) if _HUB_NAME.fullmatch(str(name)) and not Path(str(name)).exists() else None
    architecture = model.get("architecture")
    return f"timm/{architecture}" if model.get("pretrained") and architecture else None


def _loading(kind: str) -> list[str]:
    python = ["```python", "import myosotis", "", 'model = myosotis.load("model")  # this directory, or the run', "```"]
    if kind != "unlearn-language":
        return python
    return [
        *python,
        "",
        "or",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("model")',
        'tokenizer = AutoTokenizer.from_pretrained("model")',
        "```",
    ]
