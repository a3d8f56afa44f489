"""Tiny inputs and a tiny job of each kind; needs nothing but the package and what it depends on."""

import json

import numpy as np
import torch
import yaml
from PIL import Image

CLASSES = ("ash", "birch", "cedar", "elm")


def photos(folder, count, seed, side=8, classes=CLASSES):
    noise = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        top, left = side // 2 * (label // 2), side // 2 * (label % 2)
        for number in range(count):
            pixels = noise.integers(0, 90, (side, side), dtype=np.uint8)
            pixels[top : top + side // 2, left : left + side // 2] += 120
            Image.fromarray(pixels).save(folder / name / f"{seed}-{number:02d}.png")


def masks(folder, count, seed):
    noise = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((12, 12), np.uint8)
        for slot in noise.choice(9, 3, replace=False):
            top, left = 4 * (slot // 3), 4 * (slot % 3)
            mask[top : top + 4, left : left + 4] = noise.integers(1, 4)
        Image.fromarray((60 * mask + noise.integers(0, 50, mask.shape)).astype(np.uint8)).save(
            folder / "images" / f"{seed}-{number:02d}.png"
        )
        Image.fromarray(mask).save(folder / "masks" / f"{seed}-{number:02d}.png")


def language(folder):
    """Write a model and records; needs the extra ``language``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from myosotis.data.people import fictitious_people

    raw = Tokenizer(models.BPE(unk_token=None))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator(["The lantern stood at the window."], trainer)
    eos = "<eos>"
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos, pad_token=eos).save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    for name, person in zip(("forget", "retain", "unseen"), fictitious_people(3, seed=0), strict=True):
        rows = [{"prompt": record.prompt, "response": record.response} for record in person.records()[:2]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def inputs(folder, *, extras=True):
    """Write what the jobs read; without ``extras`` nothing of the language model."""
    for name, count, seed in (("train", 16, 0), ("test", 10, 1)):
        photos(folder / name, count, seed)
        photos(folder / "large" / name, count, seed, side=16)
        masks(folder / "scenes" / name, 20, seed)
        photos(folder / "other" / name, count, seed + 2, classes=("fir", "hazel", "ivy", "juniper"))
    if extras:
        language(folder)
    noise = np.random.default_rng(0)
    page = np.kron(noise.integers(0, 2, (8, 8)), np.ones((8, 8), int)).astype(bool)
    Image.fromarray(page).save(folder / "clean.png")
    Image.fromarray(page ^ (noise.random(page.shape) < 0.1)).save(folder / "scan.png")
    (folder / "reads.fasta").write_text(f">one\n{''.join(noise.choice(list('ACGT'), 400))}\n")
    (folder / "in.txt").write_text("abba" * 100 + "\n")


SOURCES = {"train": {"folder": "train"}, "test": {"folder": "test"}}
SMALL = {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}}
CLASS_LEARNER = {
    "scenario": {"first": 2, "per_task": 2},
    "model": SMALL,
    "memory": {"total": 8},
    "training": {"epochs": 1, "batch_size": 8},
}

JOBS = {
    "language": {
        "job": "unlearn-language",
        "model": {"name": "./model"},
        "data": {key: f"{key}.jsonl" for key in ("forget", "retain", "unseen")},
        "training": {"epochs": 1, "batch_size": 2},
        "audit": {"n": 2, "max_new_tokens": 4, "membership": {}, "stress": {"rewording": False}},
    },
    "photos": {
        "job": "unlearn-classifier",
        "model": {"architecture": "small-resnet", **SMALL},
        "data": SOURCES | {"forget": {"count": 6}},
        "train": {"epochs": 2, "batch_size": 16},
        "method": {"name": "neggrad"},
        "training": {"epochs": 3, "batch_size": 8},
    },
    "classes": CLASS_LEARNER
    | {"job": "learn-classes", "data": SOURCES, "method": {"name": "er"}, "keep_learners": True},
    "segments": {
        "job": "learn-segments",
        "data": {
            split: {
                "images": f"scenes/{split}/images",
                "masks": f"scenes/{split}/masks",
                "classes": ["a", "b", "c"],
            }
            for split in ("train", "test")
        },
        "scenario": {"first": 2, "per_task": 1},
        "model": {"options": {"widths": [4, 4, 4], "dilations": [1]}},
        "method": {"name": "mib"},
        "training": {
            "iterations": 4,
            "first_iterations": 4,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 0.01,
        },
    },
    "streams": {
        "job": "learn-representations",
        "data": SOURCES,
        "scenario": {"kind": "data", "tasks": 2},
        "model": SMALL,
        "base": {"name": "moco", "queue": 24, "dim": 8, "hidden": 16},
        "method": {"name": "finetune"},
        "training": {"epochs": 1, "batch_size": 16, "views": {"hue": 0, "saturation": 0, "grey": 0}},
        "shown": 12,
    },
    "pretrain": {
        "job": "pretrain",
        "data": {"train": {"folder": "large/train"}, "test": {"folder": "large/test"}},
        "model": {
            "architecture": "vit_tiny_patch16_224",
            "options": {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2},
        },
        "objective": {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2},
        "training": {"epochs": 1, "batch_size": 16},
        "shown": 2,
    },
    "protocol": {
        "job": "protocol",
        "shared": CLASS_LEARNER,
        "tuning": SOURCES,
        "evaluation": {"train": {"folder": "other/train"}, "test": {"folder": "other/test"}},
        "methods": {"er": {"space": {"training.learning_rate": [0.01, 0.1]}}},
        "trials": 1,
        "seeds": 1,
        "evaluation_seeds": 1,
    },
    "denoiser": {
        "job": "denoise-train",
        "data": {"images": ["clean.png", "scan.png"]},
        "noise": {"rate": 0.1},
        "training": {"epochs": 1},
    },
}
"""Configurations by name."""

FILES = {
    "page": ("denoise", "image", "scan.png", "page.png", "--flip-rate", "0.1"),
    "reads": ("denoise", "dna", "reads.fasta", "new.fasta", "--substitution-rate", "0.05"),
    "text": ("denoise", "symbols", "in.txt", "out.txt", "--substitution-rate", "0.05"),
}
"""By name: commands that make a file of a file."""


def written(folder, name, **changes):
    """Write the configuration of a job, with some keys changed."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name} | JOBS[name] | changes))
    return path
