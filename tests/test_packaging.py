"""What the package imports is what it says that it needs."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

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


def distributions(*, everywhere):
    """The distributions that the package imports from, each with a file that does."""
    owners, found = packages_distributions(), {}
    for path in (ROOT / "src").rglob("*.py"):
        for name in imported(ast.parse(path.read_text()), everywhere=everywhere):
            if name in sys.stdlib_module_names or name == "myosotis":
                continue
            found[normalized(owners.get(name, [name])[0])] = path.name
    return found


def test_what_a_module_imports_is_a_dependency():
    needed = {normalized(requirement) for requirement in PROJECT["dependencies"]}
    assert {name: file for name, file in distributions(everywhere=False).items() if name not in needed} == {}


def test_what_a_function_imports_is_a_dependency_or_an_extra():
    extras = PROJECT["optional-dependencies"]
    known = {normalized(one) for part in (PROJECT["dependencies"], *extras.values()) for one in part}
    assert {name: file for name, file in distributions(everywhere=True).items() if name not in known} == {}


def test_every_dependency_is_imported():
    used = set(distributions(everywhere=True))
    unused = {normalized(requirement) for requirement in PROJECT["dependencies"]} - used
    # Read by name: transformers loads GGUF files through it.
    assert unused <= {"gguf"}
