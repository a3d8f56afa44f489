"""YAML as users write it: UTF-8, no key twice, and errors that name the line."""

import codecs
from pathlib import Path
from typing import Any

import yaml

from myosotis.engine.errors import InputError

MAX_BYTES = 2**20
"""Size of a file of settings."""

_GZIP = b"\x1f\x8b"

MAX_VALUES = 100_000
"""Values of a file of settings, those of an alias counted as often as it is used."""


class RepeatedKeyError(yaml.MarkedYAMLError):
    """A key of a mapping is given twice."""


class _Loader(yaml.SafeLoader):
    """Builds nothing but plain values, and refuses a key that is given twice, of which YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys differ."""
        first: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # what is merged in may be overridden
            key, line = (key_node.tag, key_node.value), key_node.start_mark.line + 1
            if isinstance(key_node, yaml.ScalarNode) and key in first:
                raise RepeatedKeyError(
                    problem=f"the key '{key_node.value}' is given twice, first in line {first[key]}",
                    problem_mark=key_node.start_mark,
                )
            if isinstance(key_node, yaml.ScalarNode):
                first[key] = line
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value; a number or a date that Python cannot hold is an error with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            raise yaml.MarkedYAMLError(
                problem="a number or a date is out of range", problem_mark=node.start_mark
            ) from None


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values below a node, those of an alias as often as it is used; those of a circle have no end."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # until it is known, which it never is for what contains itself
        below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + (0 if isinstance(node, yaml.ScalarNode) else sum(_values(part, known) for part in below))
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says, as plain values.

    Raises:
        yaml.YAMLError: It is not YAML, gives a key twice, is nested too deep or has too many values.

    Example:
        >>> parse_yaml("training: {epochs: 3}")
        {'training': {'epochs': 3}}
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases repeat more than {MAX_VALUES:,} values")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    finally:
        loader.dispose()


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says, as plain values.

    Raises:
        InputError: There is no such file, or it is not YAML in UTF-8; the line is named.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a directory; expected a YAML file")
    if not path.is_file():
        raise InputError(f"{path}: no such configuration file")
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: has more than the {MAX_BYTES:,} bytes that settings may have")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path}: is saved as UTF-16; save it as UTF-8")
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        remedy = "is compressed; unpack it" if content.startswith(_GZIP) else "is not text in UTF-8; save it as UTF-8"
        raise InputError(f"{path}: {remedy}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        remedy = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise InputError(f"{path}{line}: not valid YAML: {error.problem}{remedy}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
