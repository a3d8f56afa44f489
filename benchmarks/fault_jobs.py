"""One small job of each kind for the faults: seconds of work, so that a fault falls into it, with several phases.

Inputs are those of the tiny jobs of the tests. Every job saves its state often and has whatever a longer one has:
memories, comparisons, shadow models, requests in sequence.
"""

import importlib.util
import sys
from pathlib import Path

import yaml

_TINY_JOBS = Path(__file__).parents[1] / "tests" / "whole" / "tiny_jobs.py"


def _tiny_jobs():
    if "tiny_jobs" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tiny_jobs", _TINY_JOBS)
        sys.modules["tiny_jobs"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tiny_jobs"])
    return sys.modules["tiny_jobs"]


LANGUAGE = {
    "model": {"name": "./model"},
    "data": {key: f"{key}.jsonl" for key in ("forget", "retain", "unseen")},
    "method": {"name": "ihl"},
    "audit": {"n": 2, "max_new_tokens": 8},
}

JOBS = {
    "unlearn-language": {
        "job": "unlearn-language",
        **LANGUAGE,
        "lora": {"rank": 2, "alpha": 4, "init": "fila"},
        "fine_tune": {"epochs": 8, "batch_size": 2},
        "training": {"epochs": 10, "batch_size": 2, "learning_rate": 1e-3},
    },
    "unlearn-language, requests": {
        "job": "unlearn-language",
        **LANGUAGE,
        "data": {**LANGUAGE["data"], "requests": 2},
        "lora": {"rank": 2, "alpha": 4},
        "training": {"epochs": 4, "batch_size": 1, "learning_rate": 1e-3},
    },
    "unlearn-classifier": {
        "job": "unlearn-classifier",
        "model": {"architecture": "small-resnet", "options": {"widths": [4, 8], "blocks": [1, 1]}},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, "forget": {"count": 6}},
        "train": {"epochs": 10, "batch_size": 16},
        "reference": "retrain",
        "method": {"name": "adv_imp", "eps": 0.5, "step_size": 0.2, "steps": 4, "copies": 3},
        "training": {"batch_size": 8, "epochs": 15, "learning_rate": 0.01},
        "audit": {"relearning": {"steps": 3}, "shadow": 3},
        "compare": [{"method": {"name": "neggrad"}}],
    },
    "learn-classes": {
        "job": "learn-classes",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "scenario": {"first": 2, "per_task": 1},
        "model": {"options": {"widths": [8, 8], "blocks": [1, 1], "stem_stride": 2}},
        "method": {"name": "ssil"},
        "norm": "tbbn",
        "memory": {"total": 12},
        "keep_learners": True,
        "training": {"epochs": 15, "batch_size": 8, "memory_batch_size": 2, "learning_rate": 0.05},
    },
    "learn-segments": {
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
        "model": {"options": {"widths": [8, 8, 8], "dilations": [1]}},
        "method": {"name": "mib_augm", "scope": "stored", "distillation": 3.0},
        "memory": {"total": 8},
        "training": {
            "iterations": 60,
            "first_iterations": 80,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 0.01,
        },
        "checkpoint_every": 10,
        "panels": 2,
    },
    "learn-representations": {
        "job": "learn-representations",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "scenario": {"kind": "data", "tasks": 3},
        "model": {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}},
        "base": {"name": "moco", "queue": 24, "dim": 8, "hidden": 16},
        "method": {"name": "pnr", "hidden": 16},
        "training": {"epochs": 8, "batch_size": 16, "views": {"hue": 0, "saturation": 0, "grey": 0}},
        "probes": {"shares": [0.5], "drift_samples": 24},
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
        "masker": {"name": "salience", "spread": 0.1, "scale": "sqrt_dim"},
        "training": {"epochs": 8, "batch_size": 16},
        "shown": 2,
    },
    "pretrain-sweep": {
        "job": "pretrain-sweep",
        "data": {"train": {"folder": "large/train"}, "test": {"folder": "large/test"}},
        "model": {
            "architecture": "vit_tiny_patch16_224",
            "options": {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
        },
        "objective": {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2},
        "training": {"epochs": 2, "batch_size": 16},
        "ratios": [0.5, 0.75],
        "seeds": 2,
    },
    "protocol": {
        "job": "protocol",
        "shared": {
            "scenario": {"first": 2, "per_task": 2},
            "model": {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}},
            "memory": {"total": 8},
            "training": {"batch_size": 8},
        },
        "tuning": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "evaluation": {"train": {"folder": "other/train"}, "test": {"folder": "other/test"}},
        "methods": {
            "er": {"space": {"training.epochs": [1, 2], "training.learning_rate": [0.01, 0.1]}},
            "icarl": {"space": {"training.epochs": [1, 2], "method.loss": ["bce", "ce"]}},
        },
        "trials": 1,
        "seeds": 2,
        "evaluation_seeds": 2,
    },
    "denoise-train": {
        "job": "denoise-train",
        "data": {"images": ["clean.png", "scan.png"]},
        "noise": {"between": [0.05, 0.2]},
        "training": {"epochs": 20},
    },
}
"""Configurations by kind."""


def write_world(folder):
    """Write what the jobs read, and a configuration of each kind, into an empty directory."""
    folder.mkdir(parents=True)
    _tiny_jobs().inputs(folder)
    for kind, content in JOBS.items():
        configuration(folder, kind).write_text(yaml.safe_dump({"name": "faulty", **content}, sort_keys=False))


def configuration(folder, kind):
    """The configuration of a kind in a world."""
    return folder / f"{kind.replace(',', '').replace(' ', '-')}.yaml"


def command(folder, kind, out, *options):
    """The arguments of the command that carries out the job of a kind."""
    return ["run", str(configuration(folder, kind)), "--out", str(out), *options]
