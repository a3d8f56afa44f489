"""What the package imports is what it says that it needs."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from myosotis.engine import extras
from myosotis.engine.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalized(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name).group()).lower()


def imported(tree, *, everywhere):
    """The top-level names of what is imported: when a module is, or also later, inside its functions."""
    nodes = ast.walk(tree) if everywhere else top_level(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def top_level(node):
    """Everything but the bodies of functions and what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from top_level(child)


# Modules of jobs on language models; what they import at their top is the extra's, which is checked at the door.
OF_LANGUAGE = ("unlearning/language/", "forgetting_learner/adapters/", "models/causal_lm.py")


def distributions(*, everywhere, of_language=None):
    """The distributions that the package imports from, each with a file that does."""
    owners, found = packages_distributions(), {}
    for path in (ROOT / "src" / "myosotis").rglob("*.py"):
        inside = path.relative_to(ROOT / "src" / "myosotis").as_posix().startswith(OF_LANGUAGE)
        if of_language is not None and inside != of_language:
            continue
        for name in imported(ast.parse(path.read_text()), everywhere=everywhere):
            if name in sys.stdlib_module_names or name == "myosotis":
                continue
            found[normalized(owners.get(name, [name])[0])] = path.name
    return found


def test_what_a_module_imports_is_a_dependency():
    needed = {normalized(requirement) for requirement in PROJECT["dependencies"]}
    imports = distributions(everywhere=False, of_language=False)
    assert {name: file for name, file in imports.items() if name not in needed} == {}


def test_what_a_module_of_language_models_imports_is_its_extra():
    extra = PROJECT["optional-dependencies"]["language"]
    needed = {normalized(requirement) for requirement in (*PROJECT["dependencies"], *extra)}
    imports = distributions(everywhere=False, of_language=True)
    assert {name: file for name, file in imports.items() if name not in needed} == {}


def test_an_extra_that_is_asked_for_by_name_brings_what_is_looked_for():
    owners = {"OpenSSL": ["pyopenssl"], **packages_distributions()}
    for extra, modules in EXTRAS.items():
        brought = {normalized(requirement) for requirement in PROJECT["optional-dependencies"][extra]}
        assert {normalized(owners.get(module, [module])[0]) for module in modules} == brought


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(extras, "EXTRAS", {"dna": ("no_such_module",)})
    with pytest.raises(ImportError, match=r"^reads needs no-such-module, .*: pip install 'myosotis\[dna\]'$"):
        extras.require("dna", "reads")


def test_a_plain_install_is_missed_at_the_door(monkeypatch, tmp_path):
    """A job of language models without its extra: one line, status 2, nothing imported of it."""
    code = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'peft' else find(name, *rest)\n"
        "from myosotis.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", str(tmp_path / "job.yaml")]
    (tmp_path / "job.yaml").write_text("job: unlearn-language\nname: job\n")
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert outcome.returncode == 2
    assert outcome.stderr == (
        "error: a job on a language model needs peft, which is not installed: pip install 'myosotis[language]'\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_what_a_function_imports_is_a_dependency_or_an_extra():
    brought = PROJECT["optional-dependencies"]
    known = {normalized(one) for part in (PROJECT["dependencies"], *brought.values()) for one in part}
    assert {name: file for name, file in distributions(everywhere=True).items() if name not in known} == {}


def test_every_dependency_is_imported():
    used = set(distributions(everywhere=True))
    unused = {normalized(requirement) for requirement in PROJECT["dependencies"]} - used
    # Read by name: transformers loads GGUF files through it.
    assert unused <= {"gguf"}
