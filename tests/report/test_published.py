"""What real runs publish, under hostile names of everything that a job reads, by an operator who must not be named."""

import json
import platform
import socket

import pytest
from typer.testing import CliRunner

from myosotis.cli.app import app

pytestmark = pytest.mark.slow

RUN = "window.pwned=1"
CLASSES = (
    f"<img src=x onerror={RUN}>",
    f"<script>{RUN}<\\script>",
    f"\"'><svg onload={RUN}>{{{{7*7}}}}",
    "</title\x1b[31m\u202egpj]]>-->$x$",
)
NAME = f"\"'></title></style></svg><script>{RUN}</script><img src=http://evil.invalid/x onerror={RUN}>\u202e"
HOST = "zaphods-machine"
SECRETS = {
    "HOME": "/home/zaphod-the-operator",
    "USER": "zaphod-the-operator",
    "LOGNAME": "zaphod-the-operator",
    "HF_TOKEN": "hf_token-of-zaphod",
    "AWS_SECRET_ACCESS_KEY": "secret-of-zaphod",
}
PUBLIC = ("report.html", "person.html", "probe.html", "result.json")


def invoke(*arguments):
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    assert not set(outcome.output) & set("\x1b\u202e")


def with_hostile_inputs(folder, tiny_jobs):
    """Rename everything that a name can be given to."""
    tiny_jobs.inputs(folder)
    for parent in (folder, folder / "large"):
        for split in ("train", "test"):
            for old, new in zip(tiny_jobs.CLASSES, (name.replace("/", "|") for name in CLASSES), strict=True):
                files = parent / split / old
                for number, path in enumerate(sorted(files.iterdir())):
                    path.rename(files / f"<img src=x onerror={RUN}>{number}\u202e{path.name}")
                files.rename(parent / split / new)
    for part in ("forget", "retain", "unseen"):
        rows = [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]
        rows = [{**row, "prompt": NAME + row["prompt"], "subject": f"{NAME}{part}"} for row in rows]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "model").rename(folder / f"m<img src=x onerror={RUN}>")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_jobs):
    """A run of each kind, with samples where they can be shown."""
    folder = tmp_path_factory.mktemp("zaphods-private-folder")
    with_hostile_inputs(folder, tiny_jobs)
    changes = {
        "language": {
            "model": {"name": f"./m<img src=x onerror={RUN}>"},
            "fine_tune": {"epochs": 1},
            "lora": {"rank": 2},
        },
        "photos": {"request": {"id": NAME, "untreated": [NAME]}},
        "segments": {
            "data": {
                split: {**part, "classes": [NAME, f"{NAME}2", CLASSES[3]]}
                for split, part in tiny_jobs.JOBS["segments"]["data"].items()
            }
        },
    }
    finished = {}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SECRETS.items():
            patched.setenv(name, value)
        patched.setattr(socket, "gethostname", lambda: HOST)
        patched.setattr(platform, "node", lambda: HOST)
        patched.chdir(folder)
        for name in tiny_jobs.JOBS:
            config = tiny_jobs.written(folder, name, operator=NAME, **changes.get(name, {}))
            options = ["--show-samples"] if name in ("language", "photos") else []
            invoke("run", config, "--out", folder / "runs" / name, *options)
            finished[name] = folder / "runs" / name
        for name in ("language", "photos"):
            invoke("report", finished[name], "--for", "person")
        invoke("probe", finished["classes"])
    return finished


def published(run):
    """Files of a run that others may read."""
    files = [run / name for name in PUBLIC if (run / name).is_file()]
    for folder in ("model", "learners"):
        files += [path for path in (run / folder).rglob("*") if path.is_file()]
    return files


def test_nothing_that_is_published_names_the_operator_s_machine(runs):
    secrets = [*SECRETS.values(), "zaphods-private-folder", HOST]
    leaks = [
        (name, str(path.relative_to(run)), secret)
        for name, run in runs.items()
        for path in published(run)
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]
    assert leaks == []


def test_a_run_keeps_neither_tokens_nor_user_nor_host(runs):
    """Not even in the part that is private."""
    secrets = [value for name, value in SECRETS.items() if name != "HOME"] + [HOST]
    for name, run in runs.items():
        for path in run.rglob("*"):
            if path.is_file():
                assert [secret for secret in secrets if secret.encode() in path.read_bytes()] == [], (name, path)


def test_what_reveals_the_forget_set_is_the_owner_s(runs):
    assert (runs["language"] / "samples.json").exists()
    for kind, run in runs.items():
        for name in ("fingerprint-salt.txt", "samples.json"):
            if (run / name).exists():
                assert (run / name).stat().st_mode & 0o077 == 0, (kind, name)


def test_no_name_runs_or_asks_for_anything_in_a_browser(runs, browser):
    count = 0
    for run in runs.values():
        for path in sorted(run.glob("*.html")):
            tab, requests = browser.new_page(), []
            tab.on("request", lambda request, requests=requests: requests.append(request.url))
            tab.goto(path.as_uri())
            assert tab.evaluate("typeof window.pwned") == "undefined", path
            assert requests == [path.as_uri()]
            assert (
                tab.evaluate("document.querySelectorAll('script, img, iframe, object, embed, base, link').length") == 0
            )
            assert "\u202e" not in tab.content()
            assert "\\u202e" in tab.content(), path
            tab.close()
            count += 1
    assert count >= 10
