"""What salience points at before anything is learnt: the share of hidden patches that lie on the object.

On 1,000 test images of Fashion-MNIST (Debian: dataset-fashion-mnist), patches of 4x4, a ratio of one half. A patch is
on the object where its pixels differ by a standard deviation above 0.02.

    python benchmarks/salience.py
"""

import argparse
from pathlib import Path

import timm
import torch

from myosotis.data.image_archives import read_idx
from myosotis.data.images import to_unit
from myosotis.engine.seeding import generator
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.mask_statistics import MaskStatistics
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.patches import to_patches

FASHION = Path("/usr/share/datasets/fashion-mnist")
MEAN, STD = 0.286, 0.353
CASES = (
    ("[0, 1]", "random", {}),
    ("[0, 1]", "salience", {"scale": "sqrt_dim"}),
    ("[0, 1]", "salience", {"scale": "sqrt_dim", "invert": True}),
    ("[0, 1]", "salience", {"scale": 1.0}),
    ("standardised", "salience", {"scale": "sqrt_dim"}),
    ("standardised", "salience", {"scale": 1.0}),
)


def masks(images, name, settings, seed):
    torch.manual_seed(seed)
    encoder = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=28,
        patch_size=4,
        in_chans=1,
        embed_dim=64,
        depth=1,
        num_heads=4,
        num_classes=0,
        global_pool="avg",
        fc_norm=False,
    )
    masker = build_masker(name, {} if name == "random" else {"warmup": 0.0, **settings})
    model = MaskedAutoencoder(encoder, masker, decoder_dim=32, decoder_depth=1, decoder_heads=4)
    with torch.no_grad():
        return masker, model(images, ratio=0.5, generator=generator(seed)).mask


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--idx", type=Path, default=FASHION)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = to_unit(read_idx(arguments.idx, "test").images[:1000])
    on_object = to_patches(images, 4).std(dim=-1) > 0.02
    print(f"patches on the object: {on_object.float().mean():.3f}")
    for pixels, name, settings in CASES:
        shares, salient = [], []
        for seed in arguments.seeds:
            masker, mask = masks(images if pixels == "[0, 1]" else (images - MEAN) / STD, name, settings, seed)
            shares.append(f"{on_object[mask.hidden].float().mean():.3f}")
            statistics = MaskStatistics(masker)
            statistics.add(mask)
            salient.append(f"{statistics.summary().get('salient_share', float('nan')):.3f}")
        print(f"{pixels:14s} {name:9s} {settings!s:38s} hidden on it {' '.join(shares)}  salient {' '.join(salient)}")


if __name__ == "__main__":
    main()
