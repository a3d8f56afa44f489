"""Parts of the documents that are made of the code."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from myosotis.cli.kinds import JOBS
from myosotis.engine.result import Result

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
        model = generated.result_model(job.kind)
        assert issubclass(model, Result)
        for key in model.model_fields:
            assert f"| `{key}` |" in page, (job.kind, key)
    assert not re.search(r"\| `[\w.]+` \|  \|", page)  # every key has a description


def test_schemas_are_written(generated, tmp_path):
    generated.on_post_build(config=type("Config", (), {"site_dir": str(tmp_path)}))
    schemas = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "schemas").iterdir()}
    assert set(schemas) == {f"result-{job.kind}" for job in JOBS.values()}
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


def test_a_misspelt_mark_is_an_error(generated):
    with pytest.raises(KeyError):
        generated.filled("<!-- methods: learn clases -->", DOCS / "methods")
