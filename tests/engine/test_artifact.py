"""Model directories: descriptions that are checked, and weights that are written once."""

from dataclasses import dataclass

import pytest
import torch

from myosotis.engine.artifact import read_description, read_weights, readable_weights, write_description, write_weights
from myosotis.engine.errors import InputError
from myosotis.engine.files import write_tensors


@dataclass(frozen=True)
class Inner:
    mean: tuple[float, ...]


@dataclass(frozen=True)
class Spec:
    name: str
    inner: Inner
    sizes: tuple[int, ...] = ()


def test_a_description_comes_back_with_its_types(tmp_path):
    spec = Spec("a", Inner((0.1, 0.2)), (2, 2))
    write_description(spec, tmp_path / "spec.json")
    assert read_description(Spec, tmp_path / "spec.json", "a spec") == spec


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"name": 3, "inner": {"mean": [0.1]}}', '{"name": "a", "inner": 1}']
)
def test_another_description_is_refused(content, tmp_path):
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(InputError, match="does not describe a spec"):
        read_description(Spec, tmp_path / "spec.json", "a spec")
    with pytest.raises(InputError, match=r"holds no other\.json, so it is not a spec"):
        read_description(Spec, tmp_path / "other.json", "a spec")


def test_what_is_shared_is_written_once_and_comes_back_apart(tmp_path):
    torch.manual_seed(0)
    shared = {"fc.weight": torch.randn(64, 64), "count": torch.tensor(3)}
    tensors = {
        "head": shared["fc.weight"],
        "copy": shared["fc.weight"].clone(),
        "own": torch.randn(2),
        "n": torch.tensor(3),
    }
    write_tensors(tmp_path / "model.safetensors", shared)
    write_weights(tmp_path / "net.safetensors", tensors, shared)
    assert (tmp_path / "net.safetensors").stat().st_size < 64 * 64
    read = read_weights(tmp_path / "net.safetensors")
    assert read.keys() == tensors.keys()
    assert all(read[name].equal(tensor) for name, tensor in tensors.items())
    read["head"].zero_()
    assert read["copy"].equal(tensors["copy"])


@pytest.mark.parametrize("other", [None, {"fc.bias": torch.zeros(2)}])
def test_a_shared_file_that_is_gone_or_another_is_named(other, tmp_path):
    shared = {"fc.weight": torch.ones(2, 2)}
    write_weights(tmp_path / "net.safetensors", shared, shared)
    if other is not None:
        write_tensors(tmp_path / "model.safetensors", other)
    with pytest.raises(InputError, match="its weights cannot be loaded"), readable_weights(tmp_path):
        read_weights(tmp_path / "net.safetensors")
