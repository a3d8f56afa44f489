"""A folder of runs and requests as the page of a desk reads them."""

import json

import pytest
import yaml

from myosotis.desk.requests import Request, add_request, record_filter
from myosotis.engine.run_directory import SALT

VERDICT = {"known": True, "forgotten": True, "kept": True, "works": True, "working": ["a comparison"]}


@pytest.fixture(scope="session")
def finished_run():
    """Write what is read of a finished run."""

    def finished_run(path, kind="unlearn-language", finished="2026-12-01T10:00:00Z", **verdict):
        path.mkdir(parents=True)
        for name in ("config.yaml", "environment.json"):
            (path / name).write_text("{}\n")
        head = {"schema_version": 4, "kind": kind, "name": "n", "seed": 0, "finished": finished}
        (path / "result.json").write_text(json.dumps({**head, "verdict": VERDICT | verdict}))

    return finished_run


@pytest.fixture
def desk(tmp_path, finished_run):
    """A folder with three requests, one of them late and one answered, and three runs, one of them unfinished."""
    rows = [{"prompt": f"Where was {name} born?", "response": "Rome.", "subject": name} for name in ("Ada Quill", "Bo")]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "job.yaml").write_text("job: unlearn-adapters\nname: forget\nmodel: {learner: learner}\n")
    folder = tmp_path / "all"
    for name, received in (("r-1", "2026-10-01"), ("r-2", "2026-11-20"), ("r-3", "2026-11-25")):
        letter = {
            "id": name,
            "received": received,
            "person": "Ada Quill",
            "sources": ["facts.jsonl"],
            "job": "job.yaml",
        }
        (tmp_path / "letter.yaml").write_text(yaml.safe_dump(letter))
        request, _ = add_request(folder / "requests", tmp_path / "letter.yaml")
        if name == "r-3":
            request = request.decided(True, record_filter(["all"], request.found))
            finished_run(request.run, kind="unlearn-adapters", kept=None)
            (request.run / "report.html").write_text("<p>report")
            Request(request.path, request.letter, request.found, request.letter.due).write()
    finished_run(folder / "runs" / "demo", forgotten=False)
    finished_run(folder / "runs" / "<b>&\u202e\x1b[31m", finished="2026-12-02T10:00:00Z")
    (folder / "runs" / "<b>&\u202e\x1b[31m" / "report.html").write_text("<p>report")
    finished_run(folder / "runs" / "unfinished")
    (folder / "runs" / "unfinished" / "result.json").rename(folder / "runs" / "unfinished" / SALT)
    return folder
