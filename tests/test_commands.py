"""Commands in the documents: each exists, with its options; what the README starts with is run."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from myosotis.cli.app import app
from myosotis.init.examples import list_examples
from myosotis.jobs import JOBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def lines_of_code(page):
    """The lines of code blocks that are no program, continued lines joined, and code within a sentence."""
    text = page.read_text()
    blocks = re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    for language, block in blocks:
        if language in ("", "bash", "sh", "console"):
            yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", prose)


def commands(page, word):
    for line in lines_of_code(page):
        if line.startswith(f"{word} "):
            yield line.partition("  #")[0]


MYOSOTIS = [(page, line) for page in PAGES for line in commands(page, "myosotis")]


@pytest.fixture(scope="module")
def tree():
    return typer.main.get_command(app)


@pytest.mark.parametrize(("page", "line"), MYOSOTIS, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(MYOSOTIS)])
def test_a_command_exists_with_its_options(tree, page, line):
    words = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    command, path = tree, []
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    assert path or words[0].startswith("-") or words[0] in ("VERB", "JOB", "..."), f"{page.name}: {line}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--install-completion"}
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert option in known, f"{page.name}: {line}: there is no {option}"
    if path and path[0] in ("init", "schema") and words and words[0] not in ("JOB", "..."):
        assert words[0] in JOBS
    if path == ["example"] and words and words[0] != "NAME":
        assert words[0] in {example.name for example in list_examples()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_benchmarks_and_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines_of_code(page):
        for path in re.findall(r"\b(?:examples|benchmarks)/[\w./-]+\.(?:yaml|py|jsonl)\b", line):
            assert (ROOT / path).is_file(), path
        if match := re.fullmatch(r"make ([a-z-]+)( *#.*)?", line):
            assert match[1] in targets, line


def test_there_are_commands_to_check():
    assert len(MYOSOTIS) > 100


@pytest.mark.slow
def test_the_readme_does_what_it_says(invoke, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    outcome = invoke("demo")
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()
    # A second time the same report is there at once.
    assert invoke("demo").exit_code == 0
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102
    assert re.fullmatch(r"\d+% recognised, \d+ steps: \w+\n", capsys.readouterr().out.splitlines(keepends=True)[-1])
