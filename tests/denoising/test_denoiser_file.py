"""The file of a denoiser."""

import pytest
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context2d
from myosotis.denoising.denoiser_file import load_denoiser, save_denoiser
from myosotis.denoising.passes import Passes
from myosotis.engine.errors import InputError

LAW = Channel.binary_symmetric(0.1)


def test_a_model_file_keeps_everything(noisy, small, blobs, tmp_path):
    denoiser = small(Context2d(12)).pretrain([blobs(0)], LAW, passes=Passes(epochs=1))
    path = tmp_path / "model.safetensors"
    save_denoiser(denoiser, path, {"names": "01", "rate": 0.1})
    back, notes = load_denoiser(path)
    assert notes == {"names": "01", "rate": 0.1}
    assert (back.symbols, back.context, back.head, back.pretrained) == (2, Context2d(12), "mapping", True)
    plane = noisy(blobs(1))
    assert (back.denoise(plane, LAW) == denoiser.denoise(plane, LAW)).all()
    torch.save({"weights": 1}, tmp_path / "other")
    for name, message in (("other", "not a model of a denoiser, or damaged"), ("none", "no such model file")):
        with pytest.raises(InputError, match=message):
            load_denoiser(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="or damaged"):
        load_denoiser(path)
