"""Parts of the documents that are made of the code."""

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import PositiveInt, ValidationError
from typer.testing import CliRunner

import myosotis
from myosotis.cli.app import app
from myosotis.engine.config import LocalPath, models_in
from myosotis.engine.result import Result
from myosotis.jobs import JOBS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generated(file_module):
    return file_module(DOCS / "generated.py")


def test_every_method_is_listed(generated):
    page = generated.filled((DOCS / "methods" / "index.md").read_text(), DOCS / "methods")
    for job in JOBS.values():
        for table in job.method_tables().values():
            for name, kind in table.items():
                assert f"`{name}`" in page
                assert kind.card.purpose in page
    assert "<!-- methods" not in page


def test_every_result_is_documented_key_by_key(generated):
    page = generated.filled((DOCS / "guides" / "runs.md").read_text(), DOCS / "methods")
    assert "<!--" not in page
    for job in JOBS.values():
        model = generated.result_model(job.name)
        assert issubclass(model, Result)
        for key in model.model_fields:
            assert f"| `{key}` |" in page, (job.name, key)
    assert not re.search(r"\| `[\w.]+` \|  \|", page)  # every key has a description


def test_schemas_are_written(generated, tmp_path):
    generated.on_post_build(config=type("Config", (), {"site_dir": str(tmp_path)}))
    schemas = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "schemas").iterdir()}
    assert set(schemas) == {f"result-{job.name}" for job in JOBS.values()}
    assert schemas["result-learn-classes"]["properties"]["kind"]["const"] == "learn-classes"
    assert "seconds" in schemas["result-pretrain"]["$defs"]["PretrainCost"]["properties"]


PAGES = sorted(
    path for path in (*DOCS.rglob("*.md"), DOCS.parent / "README.md") if "```yaml\nname:" in path.read_text()
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_job_on_a_page_is_valid(page):
    for block in re.findall(r"```yaml\n(name:.*?)```", page.read_text(), re.DOTALL):
        assert any(_is_valid(job, yaml.safe_load(block)) for job in JOBS.values()), block


def _is_valid(job, content):
    try:
        job.schema().model_validate(content)
    except ValidationError:
        return False
    return True


def test_every_key_of_every_job_is_listed(file_module):
    module, reference = file_module(DOCS / "configuration.py"), DOCS / "reference"

    def filled(page):
        text = module.on_page_markdown(page.read_text())
        assert not re.search(r"^\| `\w+` \|.*\|  \|$", text, re.M)  # every key has a meaning
        anchors = re.findall(r"^##.*\{#([\w-]+)\}$", text, re.M)
        assert len(anchors) == len(set(anchors))
        return text, anchors

    shared, anchors_above = filled(reference / "configuration.md")
    assert set(re.findall(r"\]\(#([\w-]+)\)", shared)) <= set(anchors_above)
    keys_above = set(re.findall(r"^\| `(\w+)` \|", shared, re.M))
    for job in JOBS.values():
        page, anchors = filled(reference / "configuration" / f"{job.name}.md")
        assert f"(configuration/{job.name}.md)" in shared
        links = re.findall(r"\]\(([^)#]*)#([\w-]+)\)", page)
        assert all(anchor in {"": anchors, "../configuration.md": anchors_above}[where] for where, anchor in links)
        parent = re.search(r"all keys of \[`([\w-]+)`\]", page)
        above = "" if parent is None else filled(reference / "configuration" / f"{parent[1]}.md")[0]
        listed = [
            job.schema(),
            *(model for field in job.schema().model_fields.values() for model in inner(field)),
        ]
        keys = set(re.findall(r"^\| `(\w+)` \|", page + above, re.M)) | keys_above
        assert {key for model in listed for key in model.model_fields} <= keys
        if job.name != "denoise-train":  # its methods are options of other commands
            # Methods that a protocol tunes are those of its units.
            text = page + above + shared + filled(reference / "configuration" / "learn-classes.md")[0]
            assert all(f"`{name}`" in text for table in job.method_tables().values() for name in table)


def test_finished_reports_are_whole_and_name_no_machine():
    page = (DOCS / "gallery" / "index.md").read_text()
    linked = set(re.findall(r"\]\(([\w-]+\.html)\)", page))
    assert linked == {path.name for path in (DOCS / "gallery").glob("*.html")}
    for name in linked:
        report = (DOCS / "gallery" / name).read_text(encoding="utf-8")
        assert not re.search(r"/(?:tmp|home|root|work|Users)/", report), name
        assert not re.search(r'(?:src|href)="(?:https?:)?//', report), name
        assert len(report) < 200_000


def inner(field):
    for model in models_in(field.annotation):
        yield model
        for below in model.model_fields.values():
            yield from inner(below)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (LocalPath, "path"),
        (LocalPath | None, "path or `null`"),
        (Literal["a", "b"], "`a`, `b`"),
        (tuple[PositiveInt, ...], "list of whole number (>\u00a00)"),
        (tuple[float, float], "list of 2: number"),
        (dict[str, int], "mapping of text to whole number"),
        (bool, "`true` or `false`"),
    ],
)
def test_types_are_named_in_words(file_module, annotation, name):
    assert file_module(DOCS / "configuration.py").type_name(annotation, (), {}) == name


@pytest.mark.slow
def test_the_page_on_using_models_runs(tiny_jobs, tmp_path, monkeypatch):
    tiny_jobs.inputs(tmp_path)
    for name in ("classes", "segments", "streams", "denoiser", "language"):
        arguments = ["run", tiny_jobs.written(tmp_path, name), "--out", tmp_path / "runs" / name]
        outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
    (tmp_path / "photo.png").write_bytes(next((tmp_path / "test").rglob("*.png")).read_bytes())
    Image.new("RGB", (12, 12)).save(tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    assert len(blocks("use-the-model")) == 7
    for block in blocks("use-the-model"):
        exec(block, {})  # noqa: S102


def test_the_page_on_choosing_names_methods_that_exist(generated):
    page = (DOCS / "choose.md").read_text()
    full = generated.filled(page, DOCS / "methods")
    tables = [table for job in JOBS.values() for table in job.method_tables().values()]
    taken = " ".join(re.findall(r"^\|[^|]+\|([^|]+)\|[^|]*\|$", page, re.M))
    names = set(re.findall(r"`([a-z][\w-]*)`", taken)) - {"pretrain", "denoise-train"}
    assert len(names) > 40
    assert [name for name in names if not any(name in table for table in tables)] == []
    assert "| forget, retain |" in full
    assert "<!--" not in full


def test_messages_in_troubleshooting_are_those_of_the_code():
    source = "\n".join(path.read_text() for path in (DOCS.parent / "src").rglob("*.py"))
    source = re.sub(r"\{[^{}]*\}", "...", re.sub(r'"\s*\n\s*f?"', "", source))
    rows = re.findall(r"^\| (.*?) \|", (DOCS / "troubleshooting.md").read_text(), re.M)
    parts = [
        part.strip(" ;:,'") for row in rows for code in re.findall(r"`([^`]+)`", row) for part in code.split("...")
    ]
    assert len(parts) > 80
    assert [part for part in parts if len(part) > 8 and part not in source] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_to_files_of_the_repository_exist(name):
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", (DOCS.parent / name).read_text())
    assert [link for link in links if not (DOCS.parent / link).exists()] == []


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / "guides" / f"{page}.md").read_text(), re.DOTALL)


def test_the_snippet_on_learning_classes_runs():
    def drawn(count, prefix):
        images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8)
        return images, torch.arange(count) % 4, tuple(f"{prefix}{number}" for number in range(count))

    names = dict(zip(("images", "labels", "names"), drawn(24, ""), strict=True))
    names |= dict(zip(("test_images", "test_labels", "test_names"), drawn(8, "t"), strict=True))
    (block,) = blocks("learn-classes")
    exec(block.replace("epochs=20", "epochs=1").replace("total=500", "total=8"), names)  # noqa: S102
    assert len(names["learned"].matrix()) == 2


def test_the_snippets_on_forgetting_photos_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks("unlearn-classifier"):
        exec(block, {})  # noqa: S102
    assert myosotis.load(tmp_path / "model").classes == ("cat", "dog")


def test_the_snippets_on_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(block.replace('"epochs": 5', '"epochs": 1'), names)  # noqa: S102
    assert set(names["done"].answers) >= {"known", "forgotten"}


def test_the_snippet_on_denoising_runs():
    page = np.kron(np.random.default_rng(0).integers(0, 2, (4, 4)), np.ones((8, 8), int))
    names = {"clean_images": [page], "noisy": page}
    (block,) = blocks("denoise")
    exec(block, names)  # noqa: S102
    assert names["repaired"].shape == page.shape


def test_a_misspelt_mark_is_an_error(generated):
    with pytest.raises(KeyError):
        generated.filled("<!-- methods: learn clases -->", DOCS / "methods")
