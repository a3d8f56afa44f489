"""Public names of a package, imported when they are first asked for: ``import myosotis.denoising`` loads no torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    No name may be that of a module of the package: importing the module would replace the name.

    Args:
        package: Its name.
        names: From its modules to the names that they define, with spaces between them.

    Example:
        >>> getattr_of_engine, dir_of_engine = lazy_exports("myosotis.engine", {"seeding": "derive_seed generator"})
        >>> getattr_of_engine("derive_seed")(0, "example") == getattr_of_engine("derive_seed")(0, "example")
        True
        >>> "generator" in dir_of_engine()
        True
    """
    module_of = {name: module for module, listed in names.items() for name in listed.split()}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        # Found without this function from now on.
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, listed
