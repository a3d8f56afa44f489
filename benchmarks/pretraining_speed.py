"""Time a training step of masked autoencoders: what guided masking costs, and how peers do at the same sizes.

Sizes, masks and optimiser are the same for all; steps of the contenders alternate, and the median counts.

    python benchmarks/pretraining_speed.py --threads 2
    python benchmarks/pretraining_speed.py --threads 2 --size base --batch 4 --steps 5

Peers: transformers' ViTMAEForPreTraining, and lightly's building blocks (pip install lightly) where they are installed.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import timm
import torch
from torch import nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.patches import normalized_patches, to_patches
from myosotis.pretraining.salience import received_affinity
from myosotis.pretraining.vision_transformer import embedded

SIZES = {
    "tiny": {"image": 28, "patch": 4, "channels": 1, "dim": 64, "depth": 3, "heads": 4, "decoder": (32, 1, 4)},
    "base": {"image": 224, "patch": 16, "channels": 3, "dim": 768, "depth": 12, "heads": 12, "decoder": (512, 8, 16)},
}
RATIO = 0.75
AMR = "salience, ratio of each image"
MASKERS = {
    "random": ("random", {}),
    "salience": ("salience", {"warmup": 0.0, "scale": "sqrt_dim"}),
    AMR: ("salience", {"warmup": 0.0, "scale": "sqrt_dim", "spread": 0.1}),
    "salience, ratio of the batch": ("salience", {"warmup": 0.0, "scale": "sqrt_dim", "spread": 0.1, "scope": "batch"}),
    "attention": ("attention", {}),
    "predicted_loss": ("predicted_loss", {}),
}


def encoder(size):
    return timm.create_model(
        "vit_base_patch16_224", img_size=size["image"], patch_size=size["patch"], in_chans=size["channels"],
        embed_dim=size["dim"], depth=size["depth"], num_heads=size["heads"], num_classes=0,
    )  # fmt: skip


class Ours:
    def __init__(self, size, masker, settings):
        dim, depth, heads = size["decoder"]
        self.model = MaskedAutoencoder(
            encoder(size), build_masker(masker, settings), decoder_dim=dim, decoder_depth=depth, decoder_heads=heads
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)
        self.generator = torch.Generator().manual_seed(0)
        self.ratio, self.visible = RATIO, []

    def step(self, images):
        guide = self.model.masker.guide
        said = None if guide is None else self.model.guidance(images, guide)
        found = self.model(images, ratio=self.ratio, generator=self.generator, guide=said)
        sum(found.terms.values()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.visible.append(found.mask.counts.double().mean().item())


class Transformers:
    def __init__(self, size):
        dim, depth, heads = size["decoder"]
        config = ViTMAEConfig(
            hidden_size=size["dim"], num_hidden_layers=size["depth"], num_attention_heads=size["heads"],
            intermediate_size=4 * size["dim"], image_size=size["image"], patch_size=size["patch"],
            num_channels=size["channels"], decoder_hidden_size=dim, decoder_num_hidden_layers=depth,
            decoder_num_attention_heads=heads, decoder_intermediate_size=4 * dim, mask_ratio=RATIO, norm_pix_loss=True,
        )  # fmt: skip
        self.model = ViTMAEForPreTraining(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)

    def step(self, images):
        self.model(pixel_values=images).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Lightly:
    """As their example of MAE puts the blocks together."""

    def __init__(self, size):
        from lightly.models import utils
        from lightly.models.modules import MaskedVisionTransformerDecoderTIMM, MaskedVisionTransformerTIMM

        dim, depth, heads = size["decoder"]
        self._utils, self._patch = utils, size["patch"]
        self.tokens = (size["image"] // size["patch"]) ** 2
        self.backbone = MaskedVisionTransformerTIMM(encoder(size))
        self.embed = nn.Linear(size["dim"], dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(self.tokens, dim, depth, heads)
        self.predict = nn.Linear(dim, size["patch"] ** 2 * size["channels"])
        parts = nn.ModuleList([self.backbone, self.embed, self.decoder, self.predict])
        self.optimizer = torch.optim.AdamW(parts.parameters(), 1e-4)

    def step(self, images):
        utils, batch = self._utils, len(images)
        keep, mask = utils.random_token_mask((batch, self.tokens + 1), RATIO)
        encoded = self.backbone.encode(images, idx_keep=keep)
        decoder = self.decoder
        tokens = utils.repeat_token(decoder.mask_token, (batch, self.tokens + 1))
        tokens = utils.set_at_index(tokens, keep, self.embed(encoded).type_as(tokens))
        decoded = decoder.decode(decoder.add_pos_embed(tokens))
        guess = self.predict(utils.get_at_index(decoded, mask))
        targets = normalized_patches(to_patches(images, self._patch))
        wanted = utils.get_at_index(targets, mask - 1)
        nn.functional.mse_loss(guess, wanted).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def timed(contenders, images, steps):
    """Median seconds of a step of each, all taking turns."""
    times = {name: [] for name in contenders}
    for number in range(steps + 1):
        for name, contender in contenders.items():
            started = time.perf_counter()
            contender.step(images)
            if number:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", action="store_true", help="Time the peers instead of the maskers.")
    parser.add_argument("--out", type=Path, help="A JSON file.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    size = SIZES[arguments.size]
    images = torch.rand(arguments.batch, size["channels"], size["image"], size["image"])
    if arguments.peers:
        contenders = {"myosotis": Ours(size, "random", {}), "transformers": Transformers(size)}
        try:
            contenders["lightly"] = Lightly(size)
        except ImportError:
            print("lightly is not installed")
        reference = "myosotis"
    else:
        contenders = {name: Ours(size, *one) for name, one in MASKERS.items()}
        # What a ratio for each image costs beyond the tokens that it shows.
        contenders[AMR].step(images)
        equal = contenders["random, as many tokens as AMR"] = Ours(size, "random", {})
        shown = contenders[AMR].visible[0] / (equal.model.grid[0] * equal.model.grid[1])
        equal.ratio = 1 - shown
        reference = "random"
    seconds = timed(contenders, images, arguments.steps)
    rows = []
    print(f"{arguments.size}, batch {arguments.batch}, {arguments.threads} threads, ratio {RATIO}")
    for name, value in seconds.items():
        visible = getattr(contenders[name], "visible", [])
        width = f", {sum(visible) / len(visible):.1f} tokens in the encoder" if visible else ""
        print(
            f"{name:32s} {value * 1000:9.1f} ms {arguments.batch / value:9.1f} images/s "
            f"{value / seconds[reference] - 1:+7.1%}{width}"
        )
        rows.append({"name": name, "seconds": value, "images_per_second": arguments.batch / value})
    if not arguments.peers:
        model = contenders["salience"].model
        with torch.no_grad():
            tokens = embedded(model.encoder, images)[1]
        alone = []
        for _ in range(arguments.steps):
            started = time.perf_counter()
            received_affinity(tokens, scale="sqrt_dim")
            alone.append(time.perf_counter() - started)
        share = statistics.median(alone) / seconds["random"]
        print(f"salience alone: {statistics.median(alone) * 1000:.2f} ms, {share:.2%} of a step with random masks")
        rows.append({"name": "salience alone", "seconds": statistics.median(alone)})
    if arguments.out:
        arguments.out.write_text(json.dumps({"settings": {**vars(arguments), "out": None}, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
