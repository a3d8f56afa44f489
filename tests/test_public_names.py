"""What a user imports is exported by its package."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import myosotis

PACKAGES = (
    "continual",
    "continual.classification.norm",
    "continual.classification",
    "continual.segmentation",
    "continual.selfsupervised",
    "data",
    "denoising",
    "engine",
    "evaluation",
    "exact",
    "ledger",
    "models",
    "pretraining",
    "report",
    "unlearning.classifier",
    "unlearning.language",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name):
    package = import_module(f"myosotis.{name}")
    tree = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    imported = {alias.name: f"myosotis.{name}.{node.module}" for node in tree.body for alias in node.names}
    assert sorted(package.__all__) == sorted(imported)
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__), "importing the module would hide the name"
    for public, module in imported.items():
        value = getattr(package, public)
        assert value is getattr(import_module(module), public)
    assert set(package.__all__) <= set(dir(package))
    everything = {}
    exec(f"from myosotis.{name} import *", everything)  # noqa: S102
    assert set(package.__all__) <= set(everything)
    with pytest.raises(AttributeError, match=f"No myosotis.{name} attribute nothing"):
        _ = package.nothing


def test_names_that_are_asked_for_most():
    from myosotis.continual.classification import convert_task_balanced, task_balance
    from myosotis.continual.segmentation import assign_images, group_cross_entropy
    from myosotis.continual.selfsupervised import pnr_moco_loss
    from myosotis.denoising import Channel, counting, dude
    from myosotis.pretraining import adaptive_ratio, mask_from_scores, token_salience

    names = (convert_task_balanced, task_balance, assign_images, group_cross_entropy, pnr_moco_loss, Channel, dude)
    assert all(callable(name) for name in (*names, adaptive_ratio, mask_from_scores, token_salience))
    assert counting.dude is dude


def test_what_is_not_asked_for_is_not_imported():
    """A package that imports all its modules takes seconds; without torch it is less than one."""
    code = f"""
import sys
import {", ".join(f"myosotis.{name}" for name in PACKAGES)}
assert not {{"torch", "numpy", "transformers"}} & set(sys.modules)
from myosotis.denoising import Channel, dude
assert Channel.binary_symmetric(0.1).inputs == 2
assert not {{"torch", "PIL", "transformers"}} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(myosotis.__file__).is_file()


def test_every_public_method_is_documented_where_it_begins():
    """An override needs no docstring of its own: :func:`inspect.getdoc` finds that of its base."""
    modules = [found.name for found in pkgutil.walk_packages(myosotis.__path__, "myosotis.")]
    classes = {
        value
        for module in map(import_module, [name for name in modules if not name.endswith("__main__")])
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not value.__name__.startswith("_")
    }
    assert len(classes) > 500
    undocumented = [
        f"{owner.__module__}.{owner.__qualname__}.{name}"
        for owner in classes
        for name, value in vars(owner).items()
        if not name.startswith("_")
        and isinstance(value, FunctionType | property | classmethod | staticmethod)
        and not inspect.getdoc(getattr(owner, name))
    ]
    assert not undocumented
