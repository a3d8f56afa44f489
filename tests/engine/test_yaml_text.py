"""Settings that explode, or that Python cannot hold."""

import pytest

from myosotis.engine import yaml_text
from myosotis.engine.errors import InputError
from myosotis.engine.yaml_text import read_yaml


def grown(first, use):
    """Ten levels, each of which names the one before nine times: three billion values in four hundred letters."""
    lines = [f"a: &a {first}"]
    for before, level in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{level}: &{level} {use(before)}")
    return "\n".join(lines)


BOMBS = {
    "lists": grown("[x]", lambda name: f"[{', '.join([f'*{name}'] * 9)}]"),
    "mappings": grown("{x: 1}", lambda name: f"{{{', '.join(f'k{n}: *{name}' for n in range(9))}}}"),
    "merges": grown("{x: 1}", lambda name: f"{{<<: [{', '.join([f'*{name}'] * 9)}]}}"),
    "a list in itself": "a: &a [*a]",
    "a mapping in itself": "a: &a {b: *a}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_that_explode(bomb, tmp_path):
    (tmp_path / "c.yaml").write_text(BOMBS[bomb])
    with pytest.raises(InputError, match=r"c\.yaml: not valid YAML: its aliases repeat more than 100,000 values"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("value", ["1" * 5000, "2001-99-99", f"1{':59' * 300}.5"])
def test_what_python_cannot_hold(value, tmp_path):
    """Each was a traceback."""
    (tmp_path / "c.yaml").write_text(f"name: x\nseed: {value}\n")
    with pytest.raises(InputError, match=r"c\.yaml, line 2: not valid YAML: a number or a date is out of range"):
        read_yaml(tmp_path / "c.yaml")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    """A hundred megabytes of a comment took minutes."""
    (tmp_path / "c.yaml").write_text("#" * 2**20)
    assert read_yaml(tmp_path / "c.yaml") is None
    (tmp_path / "c.yaml").write_text("#" * 2**20 + "\n")
    with pytest.raises(InputError, match=r"c\.yaml: has more than the 1,048,576 bytes that settings may have"):
        read_yaml(tmp_path / "c.yaml")


def test_aliases_that_do_not_explode(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_text, "MAX_VALUES", 17)
    (tmp_path / "c.yaml").write_text("train: &it {size: 8, folder: x}\ntest: {<<: *it, folder: y}\n")
    assert read_yaml(tmp_path / "c.yaml") == {
        "train": {"size": 8, "folder": "x"},
        "test": {"size": 8, "folder": "y"},
    }
