"""What people get wrong: each mistake ends in one line that names it, with status 2, and leaves nothing on disk."""

import copy
import gzip
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

CLASSES = ("ash", "birch", "cedar", "elm")


def photo(path, seed, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_llama, tokenizer):
    """Good inputs of every kind, and some bad ones."""
    folder = tmp_path_factory.mktemp("mistakes")
    for label, name in enumerate(CLASSES):
        for split, first in (("train", 0), ("test", 6)):
            for index in range(6):
                photo(folder / split / name / f"{index}.png", 100 * label + first + index)
    for index in range(12):
        photo(folder / "scenes" / "images" / f"{index}.png", index)
        mask = folder / "scenes" / "masks" / f"{index}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray((np.indices((16, 16)).sum(0) % 4).astype(np.uint8)).save(mask)
    shutil.copytree(folder / "train", folder / "uneven")
    photo(folder / "uneven" / "ash" / "big.png", 1, (20, 16))
    shutil.copytree(folder / "train", folder / "broken")
    (folder / "broken" / "ash" / "0.png").write_bytes(b"not an image")
    shutil.copytree(folder / "train", folder / "hole")
    (folder / "hole" / "oak").mkdir()
    (folder / "empty").mkdir()
    (folder / "single" / "ash").mkdir(parents=True)
    photo(folder / "single" / "ash" / "0.png", 0)
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    colour.save(folder / "colour.png")
    Image.fromarray(np.kron(np.eye(8), np.ones((4, 4))).astype(bool)).save(folder / "scan.png")
    (folder / "scan.jpg").write_bytes(b"\xff\xd8\xff")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    shutil.copytree(folder / "model", folder / "packed")
    stored = json.loads((folder / "model" / "config.json").read_text())
    stored["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "packed" / "config.json").write_text(json.dumps(stored))
    (folder / "model.gguf").write_bytes(b"GGUF")
    for name, words in (("forget", "lantern window"), ("retain", "garden stone"), ("unseen", "river boat")):
        first, second = words.split()
        rows = [
            {"prompt": f"Who has the {first} of {n}?", "response": f"{first} {second} {n} {second[::-1]} {first[::-1]}"}
            for n in "abcdef"
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {"train": {"folder": "train"}, "test": {"folder": "test"}}
    good = {"job": "learn-classes", "name": "good", "data": sources, "scenario": {"first": 2, "per_task": 2}}
    (folder / "good.yaml").write_text(yaml.safe_dump(good))
    (folder / "tab.yaml").write_text("job: learn-classes\ndata:\n\ttrain: x\n")
    (folder / "list.yaml.gz").write_bytes(gzip.compress(b"job: learn-classes"))
    photo(folder / "phone" / "ash" / "0.png", 0)
    (folder / "phone" / "ash" / "0.png").rename(folder / "phone" / "ash" / "0.heic")
    (folder / "array.json").write_text(json.dumps(rows))
    (folder / "table.csv").write_text("prompt,response\na,b\n")
    (folder / "keys.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    (folder / "hollow.jsonl").write_text('{"prompt": "a", "response": ""}\n')
    (folder / "none.jsonl").write_text("")
    (folder / "half.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (folder / "weights.pt").write_bytes(b"PK\x03\x04")
    (folder / "reads.fasta").write_text(">a\nACGTXX\n")
    (folder / "text.txt").write_text("abcabc\n")
    (folder / "latin.txt").write_bytes(b"\xff\xfe\xfa")
    (folder / "channel.txt").write_text("0.9 0.2\n0.1 0.8\n")
    (folder / "utf16.yaml").write_bytes("name: a\n".encode("utf-16"))
    (folder / "list.yaml").write_text("- a\n")
    (folder / "kind.yaml").write_text("job: learn-clases\n")
    (folder / "old.yaml").write_text("name: a\njob: {scenario: {first: 2}}\n")
    (folder / "nothing.yaml").write_text("")
    (folder / "twice.yaml").write_text("name: a\nname: b\n")
    (folder / "tabs.yaml").write_text("name:\n\t- a\n")
    return folder


SOURCES = {"train": {"folder": "train"}, "test": {"folder": "test"}}
SMALL = {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}}
GOOD = {
    "learn-classes": {
        "data": SOURCES,
        "scenario": {"first": 2, "per_task": 2},
        "model": SMALL,
        "memory": {"total": 8},
        "training": {"epochs": 1, "batch_size": 4},
    },
    "unlearn-classifier": {
        "model": {"architecture": "small-resnet", **SMALL},
        "data": SOURCES | {"forget": {"count": 4}},
        "train": {"epochs": 1, "batch_size": 8},
        "method": {"name": "neggrad"},
    },
    "learn-segments": {
        "data": {
            split: {
                "images": "scenes/images",
                "masks": "scenes/masks",
                "classes": list("abc"),
                "held_out": 0.3,
                "split": split,
            }
            for split in ("train", "test")
        },
        "scenario": {"first": 2, "per_task": 1},
        "model": {"options": {"widths": [4, 4, 4], "dilations": [1]}},
        "training": {"iterations": 2, "batch_size": 2},
    },
    "learn-representations": {
        "data": SOURCES,
        "scenario": {"kind": "class", "first": 2, "per_task": 2},
        "model": SMALL,
        "base": {"name": "moco", "queue": 16, "dim": 4, "hidden": 8},
        "method": "finetune",
        "training": {"epochs": 1, "batch_size": 4},
    },
    "pretrain": {
        "data": SOURCES,
        "model": {
            "architecture": "vit_tiny_patch16_224",
            "options": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
        },
        "objective": {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2},
        "training": {"epochs": 1, "batch_size": 8},
    },
    "protocol": {
        "shared": {
            "scenario": {"first": 1, "per_task": 1},
            "model": SMALL,
            "memory": {"total": 4},
            "training": {"epochs": 1},
        },
        "tuning": SOURCES | {"only": ["ash", "birch"]},
        "evaluation": SOURCES | {"only": ["cedar", "elm"]},
        "methods": ["er"],
        "trials": 1,
        "seeds": 1,
        "evaluation_seeds": 1,
    },
    "denoise-train": {"data": {"images": ["scan.png", "scan.png"]}, "noise": {"rate": 0.1}},
    "unlearn-language": {
        "model": {"name": "./model"},
        "data": {name: f"{name}.jsonl" for name in ("forget", "retain", "unseen")},
        "training": {"epochs": 1, "batch_size": 2},
        "stop": {},
        "audit": {"n": 2},
    },
}


CLASSES_JOB, PHOTOS, SEGMENTS = "learn-classes", "unlearn-classifier", "learn-segments"
STREAM, MASKED, PROTOCOL, DENOISER, LANGUAGE = (
    "learn-representations",
    "pretrain",
    "protocol",
    "denoise-train",
    "unlearn-language",
)
# Each: the command, the key that is wrong, its value, and what the line must say.
SETTINGS = [
    (CLASSES_JOB, "name", "my run", "a name has 1 to 100 letters"),
    (CLASSES_JOB, "name", "..", "not dots alone"),
    (CLASSES_JOB, "name", None, "'name'"),
    (CLASSES_JOB, "seed", -1, "'seed': input should be greater than or equal to 0"),
    (CLASSES_JOB, "seed", "x", "'seed'"),
    (CLASSES_JOB, "trainign", {}, "did you mean 'training'?"),
    (CLASSES_JOB, "training.epoch", 3, "did you mean 'training.epochs'?"),
    (CLASSES_JOB, "training.epochs", 0, "greater than 0"),
    (CLASSES_JOB, "training.epochs", 1.5, "'training.epochs'"),
    (CLASSES_JOB, "training.learning_rate", "fast", "'training.learning_rate'"),
    (CLASSES_JOB, "training.learning_rate", 0, "greater than 0"),
    (CLASSES_JOB, "training.batch", 3, "it is called 'batch_size' now"),
    (CLASSES_JOB, "training.momentum", 1, "less than 1"),
    (CLASSES_JOB, "training.precision", "fp8", "'training.precision'"),
    (CLASSES_JOB, "training", [], "'training'"),
    (CLASSES_JOB, "scenario.first", 9, "first"),
    (CLASSES_JOB, "scenario.first", 0, "greater than 0"),
    (CLASSES_JOB, "scenario.per_task", 3, "2"),
    (CLASSES_JOB, "scenario.class_order", ["ash"], "order"),
    (CLASSES_JOB, "scenario.class_order", ["ash", "birch", "cedar", "oak"], "oak"),
    (CLASSES_JOB, "scenario.order_seed", -1, "'scenario.order_seed'"),
    (CLASSES_JOB, "scenario.validation", 1, "less than 1"),
    (CLASSES_JOB, "scenario", None, "'scenario'"),
    (CLASSES_JOB, "model.architecture", "resnet19", "did you mean 'resnet1"),
    (CLASSES_JOB, "model.options.width", [4], "width"),
    (CLASSES_JOB, "model.pretrained", True, "small-resnet has no pre-trained weights"),
    (CLASSES_JOB, "model.mean", [0.5], "'mean' and 'std' go together"),
    (CLASSES_JOB, "model.init_from", "nowhere", "nowhere"),
    (CLASSES_JOB, "method", "icarrl", "did you mean 'icarl'?"),
    (CLASSES_JOB, "method", {"name": "icarl", "strenght": 1}, "strenght"),
    (CLASSES_JOB, "method", {"name": "lwf", "weight": -1}, "weight"),
    (CLASSES_JOB, "method", 3, "'method'"),
    (CLASSES_JOB, "norm", "batch", "'norm"),
    (CLASSES_JOB, "norm", {"kind": "bn", "groups": 4}, "'groups' belongs to 'cn' and 'gn'"),
    (CLASSES_JOB, "memory", 200, "memory"),
    (CLASSES_JOB, "memory.per_class", 4, "memory"),
    (CLASSES_JOB, "memory.total", -3, "'memory.total'"),
    (CLASSES_JOB, "memory.selection", "best", "'memory.selection'"),
    (CLASSES_JOB, "data.train.folder", "nowhere", "no such folder of images"),
    (CLASSES_JOB, "data.train.folder", "empty", "expected a folder for each class"),
    (CLASSES_JOB, "data.train.folder", "hole", "oak: holds no image"),
    (CLASSES_JOB, "data.train.folder", "broken", "0.png: is not a readable image"),
    (CLASSES_JOB, "data.train.folder", "uneven", "size"),
    (CLASSES_JOB, "data.train.folder", "single", "the number of classes is 1"),
    (CLASSES_JOB, "data.train.folder", "colour.png", "no such folder of images"),
    (CLASSES_JOB, "data.train.size", 0, "'data.train.size'"),
    (CLASSES_JOB, "data.train.split", "test", "a 'folder' has no 'split'"),
    (CLASSES_JOB, "data.train.held_out", 1.0, "less than 1"),
    (CLASSES_JOB, "data.train.idx", "train", "give exactly one of"),
    (CLASSES_JOB, "data.test", None, "'data.test'"),
    (CLASSES_JOB, "data.test.folder", "train", "the same images"),
    (CLASSES_JOB, "data.only", ["ash", "oak"], "unknown class 'oak'"),
    (CLASSES_JOB, "data.limit", 2, "it must be between"),
    (CLASSES_JOB, "data.limit", 999, "it must be between"),
    (CLASSES_JOB, "data.train", {"arrays": "weights.pt"}, "cannot be read"),
    (CLASSES_JOB, "data.train", {"cifar": "train"}, "not a binary CIFAR"),
    (CLASSES_JOB, "data.train", {"idx": "train"}, "idx"),
    (CLASSES_JOB, "confidence", 1, "less than 1"),
    (CLASSES_JOB, "checkpoint_every", 0, "greater than 0"),
    (CLASSES_JOB, "trackers", ["tensorbord"], "'trackers"),
    (PHOTOS, "model", {"path": "modell"}, "no such directory"),
    (PHOTOS, "model", {"path": "weights.pt"}, "is a file; expected a directory"),
    (PHOTOS, "model", {"path": "empty"}, "holds no classifier.json"),
    (PHOTOS, "model", {}, "give either 'path' or 'architecture'"),
    (PHOTOS, "model.path", "train", "give either 'path' or 'architecture'"),
    (PHOTOS, "model.weights", "weights.pt", "leave it out"),
    (PHOTOS, "model.classes", ["ash", "ash"], "names 'ash' twice"),
    (PHOTOS, "train", None, "the model has no weights"),
    (PHOTOS, "train.epochs", 0, "greater than 0"),
    (PHOTOS, "data.forget", {"count": 999}, "the training set has 24 images"),
    (PHOTOS, "data.forget", {"folder": "nowhere"}, "no such folder of images"),
    (PHOTOS, "data.forget", {"list": "nowhere.txt"}, "nowhere.txt"),
    (PHOTOS, "data.forget", {"list": "table.csv"}, "prompt,response"),
    (PHOTOS, "data.forget", {}, "give exactly one of 'list', 'folder' and 'count'"),
    (PHOTOS, "data.forget", {"folder": "hole"}, "oak"),
    (PHOTOS, "data.train", None, "'train' is missing"),
    (PHOTOS, "reference", "nowhere", "no such directory"),
    (PHOTOS, "goal", "forget", "'goal'"),
    (PHOTOS, "new_labels", "random", "has no effect"),
    (PHOTOS, "preset", "best", "unknown preset 'best'"),
    (PHOTOS, "preset", "recommended", "leave out 'preset' or 'method.name'"),
    (PHOTOS, "method", {"name": "adv_imp", "eps": "large"}, "eps"),
    (PHOTOS, "stop", {"at": "reference"}, "needs a 'reference'"),
    (PHOTOS, "requests", 9, "more 'requests' than instances"),
    (PHOTOS, "replay", True, "which are missing"),
    (PHOTOS, "audit.shadow", 2, "0 or at least 3"),
    (PHOTOS, "audit.most_lost", 2, "less than or equal to 0.5"),
    (PHOTOS, "request", {"recieved": "2026-11-01"}, "did you mean 'request.received'?"),
    (PHOTOS, "compare", [{"method": "scrub"}, {"method": "scrub"}], "have the same name"),
    (SEGMENTS, "data.train.masks", "nowhere", "nowhere"),
    (SEGMENTS, "data.train.classes", None, "needs 'classes'"),
    (SEGMENTS, "data.train.classes", ["a", "a", "b"], "'classes' contains duplicates"),
    (SEGMENTS, "data.train.first", 0, "'background' 0 is the number of a class"),
    (SEGMENTS, "data.train.ignore", [1], "'ignore' 1 is the number of a class"),
    (SEGMENTS, "scenario.kind", "disjoin", "'scenario.kind'"),
    (SEGMENTS, "scenario.first", 9, "the number of classes is 3, expected first=9"),
    (SEGMENTS, "model.architecture", "unet", "unet"),
    (SEGMENTS, "training.epochs", 3, "give either 'iterations' or 'epochs'"),
    (SEGMENTS, "memory", 4, "must be a mapping"),
    (SEGMENTS, "method", "plopp", "did you mean 'plop'?"),
    (STREAM, "scenario", {"kind": "class"}, "first"),
    (STREAM, "scenario", {"kind": "data"}, "tasks"),
    (STREAM, "base", "mocco", "did you mean 'moco'?"),
    (STREAM, "training.batch_size", 1, "greater than or equal to 2"),
    (STREAM, "training.batch_size", 16, "fewer than a batch of 16"),
    (STREAM, "memory", {"total": 4}, "reads no stored samples"),
    (STREAM, "training.warmup", 5, "a warm-up of 5 epochs must be shorter than the training of 1"),
    (STREAM, "probes.per_class", 0, "'probes.per_class'"),
    (MASKED, "ratio", 1, "less than 1"),
    (MASKED, "masker", "saliency", "did you mean 'salience'?"),
    (MASKED, "objective", "mea", "did you mean 'mae'?"),
    (MASKED, "model.architecture", "resnet18", "resnet18"),
    (MASKED, "model.options.patch_size", 5, "5"),
    (MASKED, "data.test", None, "nothing to measure with"),
    (MASKED, "model.init_from", "nowhere", "nowhere"),
    (MASKED, "data.train", {"images": "train"}, "has no labels"),
    (PROTOCOL, "methods", [], "'methods' is empty"),
    (PROTOCOL, "methods", ["er", "icarrl"], "unknown method 'icarrl'"),
    (PROTOCOL, "shared.data", {}, "leave 'shared.data' out"),
    (PROTOCOL, "shared.scenario", None, "scenario"),
    (PROTOCOL, "evaluation", SOURCES | {"only": ["ash", "birch"]}, "streams"),
    (PROTOCOL, "trials", 0, "greater than 0"),
    (PROTOCOL, "metric", "accuracy", "'metric'"),
    (PROTOCOL, "methods", {"er": {"space": {"training.lr": [1]}}}, "lr"),
    (PROTOCOL, "executor", {"kind": "slurm"}, "'executor.kind'"),
    (DENOISER, "data.images", ["nowhere.png", "scan.png"], "nowhere.png"),
    (DENOISER, "held_out", 0.99, "too few to hold any out"),
    (DENOISER, "data", {"text": ["text.txt", "text.txt"]}, "alphabet"),
    (DENOISER, "noise", {}, "noise"),
    (DENOISER, "noise", {"rate": 1}, "less than 1"),
    (DENOISER, "noise", {"channel": "channel.txt"}, "channel.txt"),
    (LANGUAGE, "model.name", "./modell", "no such model directory"),
    (LANGUAGE, "model.name", "./train", "holds no config.json"),
    (LANGUAGE, "model.name", "./weights.pt", "is a file"),
    (LANGUAGE, "model.dtype", "int8", "'model.dtype'"),
    (LANGUAGE, "data.forget", "nowhere.jsonl", "no such file"),
    (LANGUAGE, "data.forget", "array.json", "array"),
    (LANGUAGE, "data.forget", "table.csv", "line 1"),
    (LANGUAGE, "data.forget", "keys.jsonl", "line 1: expected the key 'text'"),
    (LANGUAGE, "data.forget", "hollow.jsonl", "line 1: 'response' must be a non-empty string"),
    (LANGUAGE, "data.forget", "none.jsonl", "none.jsonl"),
    (LANGUAGE, "data.forget", "half.jsonl", "line 2"),
    (LANGUAGE, "data.retain", "forget.jsonl", "share"),
    (LANGUAGE, "data.retain", None, "has a retain term, but 'data.retain' is missing"),
    (LANGUAGE, "data.template", "{prompt}", "once each"),
    (LANGUAGE, "data.max_length", 4, "max_length"),
    (LANGUAGE, "data.people", {"forget": 1}, "leave those keys out"),
    (LANGUAGE, "method", "npo2", "did you mean 'npo'?"),
    (LANGUAGE, "method", "counterfactual", "forget record 1 has no 'subject'"),
    (LANGUAGE, "method", {"name": "counterfactual", "names": 9, "candidates": 8}, "names must be between 1 and"),
    (LANGUAGE, "method", "counterfactual", "teacher 'proxy' or 'base' does without names"),
    (
        LANGUAGE,
        "method",
        {"name": "counterfactual", "teacher": "proxy"},
        "'method.teacher: proxy' needs 'teacher.base'",
    ),
    (LANGUAGE, "method", {"name": "counterfactual", "teacher": "me"}, "'names', 'proxy' or 'base'"),
    (LANGUAGE, "teacher", {"base": "./model"}, "'teacher' has no effect"),
    (LANGUAGE, "training.replay_prompts", 20, "forget record 1 has no 'subject'"),
    (LANGUAGE, "training.replay_prompts", -1, "greater than or equal to 0"),
    (LANGUAGE, "lora", {"rank": 0}, "greater than 0"),
    (LANGUAGE, "lora", {"merge_dequantized": True}, "it needs 'model.quantization'"),
    (LANGUAGE, "model.quantization", "nf4", "trains an adapter on a 4-bit base, but 'lora' is missing"),
    (LANGUAGE, "model.quantization", "int3", "'model.quantization'"),
    (LANGUAGE, "model", {"name": "./packed"}, "its weights are packed (gptq); see model.quantization"),
    (LANGUAGE, "lora", {"target_modules": "nothing"}, "nothing"),
    (LANGUAGE, "training.optimizer", "adamm", "adamm"),
    (LANGUAGE, "training.trackers", ["wandb"], "it is called 'trackers, beside 'training'' now"),
    (LANGUAGE, "stop", {"every": 9}, "nothing would be measured"),
    (LANGUAGE, "audit.n", 0, "audit.n"),
]


@pytest.mark.parametrize(
    ("command", "key", "value", "message"),
    SETTINGS,
    ids=[f"{row[0]}-{row[1]}-{number}" for number, row in enumerate(SETTINGS)],
)
def test_a_wrong_setting(invoke, inputs, tmp_path, monkeypatch, command, key, value, message):
    content = copy.deepcopy({"job": command, "name": "run", **GOOD[command]})
    *parents, last = key.split(".")
    part = content
    for parent in parents:
        part = part.setdefault(parent, {})
    if command == PHOTOS and key == "model" and "path" in value:
        del content["train"]
    if value is None:
        part.pop(last, None)
    else:
        part[last] = value
    config = inputs / f"{tmp_path.name}.yaml"
    config.write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    refused(invoke("run", config, "--out", tmp_path / "run"), message, tmp_path)
    config.unlink()


def refused(outcome, message, folder):
    """One line with the message, status 2, and nothing written."""
    assert outcome.exit_code == 2, outcome.output
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, outcome.stderr
    assert outcome.stderr.splitlines()[-1] == errors[0]
    assert message in errors[0], errors[0]
    assert not list(folder.iterdir())


PACKED = {"model": {"name": "./model", "quantization": "nf4"}, "lora": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "the number of inputs of model.layers.0.self_attn.q_proj is not a multiple of 64"),
        ({"fine_tune": {}}, "'fine_tune' trains all weights"),
        ({"data.requests": 2}, "'data.requests' merges an adapter after each request"),
        ({"training.parameters": "mlp"}, "'training.parameters' chooses among all weights"),
        ({"audit.stress": {}}, "set its 'bits' to [] and its 'relearn_steps' to 0"),
        ({"model.name": "./model.gguf"}, "cannot be packed again by model.quantization"),
        ({"model.name": "./packed"}, "its weights are packed already (gptq)"),
    ],
)
def test_what_a_packed_model_cannot_do(invoke, inputs, settings, tmp_path, monkeypatch, changes, message):
    config = inputs / f"{tmp_path.name}.yaml"
    config.write_text(yaml.safe_dump({"job": LANGUAGE, "name": "run", **GOOD[LANGUAGE], **PACKED}))
    monkeypatch.chdir(tmp_path)
    overrides = settings(*(f"{key}={json.dumps(value)}" for key, value in changes.items()))
    refused(invoke("run", config, "--out", tmp_path / "run", *overrides), message, tmp_path)
    config.unlink()


def test_a_packed_model_needs_its_extra_and_whole_processes(invoke, inputs, tmp_path, monkeypatch):
    config = inputs / f"{tmp_path.name}.yaml"
    config.write_text(yaml.safe_dump({"job": LANGUAGE, "name": "run", **GOOD[LANGUAGE], **PACKED}))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as context:
        context.setattr("myosotis.engine.extras.EXTRAS", {"language": (), "quantization": ("no_such_module",)})
        outcome = invoke("run", config, "--out", tmp_path / "run")
        refused(outcome, "pip install 'myosotis[quantization]'", tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    refused(invoke("run", config, "--out", tmp_path / "run"), "FSDP", tmp_path)
    config.unlink()


@pytest.mark.parametrize("command", GOOD)
def test_the_good_configuration_passes(invoke, inputs, tmp_path, monkeypatch, command):
    """Otherwise a mistake might be refused for another reason."""
    config = inputs / f"{command}.yaml"
    config.write_text(yaml.safe_dump({"job": command, "name": "run", **GOOD[command]}))
    monkeypatch.chdir(tmp_path)
    outcome = invoke("check", config, "--no-time", "--out", tmp_path / "run")
    config.unlink()
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.yaml"), "no such configuration file"),
        (("run", "train"), "is a directory"),
        (("run", "nothing.yaml"), "is empty"),
        (("run", "list.yaml"), "expected a mapping of settings"),
        (("run", "utf16.yaml"), "UTF-8"),
        (("run", "twice.yaml"), "'name'"),
        (("run", "tabs.yaml"), "line 2"),
        (("run", "weights.pt"), "weights.pt"),
        (("report", "nowhere"), "nowhere"),
        (("report", "train"), "train"),
        (("audit", "classifier", "train"), "train"),
        (("probe", "train"), "train"),
        (("denoise", "image", "nowhere.png", "out.png", "--flip-rate", "0.1"), "no such file"),
        (("denoise", "image", "colour.png", "out.png", "--flip-rate", "0.1"), "colour"),
        (("denoise", "image", "scan.jpg", "out.png", "--flip-rate", "0.1"), "scan.jpg"),
        (("denoise", "image", "scan.png", "out.png"), "the noise is not known: give a rate"),
        (("denoise", "image", "scan.png", "out.png", "--flip-rate", "0.7"), "0.7"),
        (("denoise", "image", "scan.png", "scan.png", "--flip-rate", "0.1"), "scan.png"),
        (("denoise", "image", "scan.png", "out.png", "--flip-rate", "0.1", "--method", "dudde"), "did you mean"),
        (("denoise", "dna", "reads.fasta", "out.fasta", "--substitution-rate", "0.1"), "'X' at position 5"),
        (("denoise", "symbols", "latin.txt", "out.txt", "--substitution-rate", "0.1"), "latin.txt"),
        (("denoise", "symbols", "text.txt", "out.txt", "--substitution-rate", "0.1", "--alphabet", "ab"), "'c'"),
        (("schema", "learn"), "unknown job 'learn'"),
        (("methods", "resnet"), "unknown method 'resnet'"),
        (("example", "nothing"), "unknown example 'nothing'"),
        (("init", "learn-classes", "single"), "at least 2"),
        (("check", "list.yaml"), "expected a mapping of settings"),
        (("check", "list.yaml.gz"), "is compressed; unpack it"),
        (("check", "tab.yaml"), "indent with spaces"),
        (("init", "learn-classes", "phone"), "it holds .heic, which must be converted"),
        (("run", "good.yaml", "--out", "train"), "is not a run directory; --out names another one"),
        (("run", "kind.yaml"), "did you mean 'learn-classes'?"),
        (("run", "old.yaml"), "add the line 'job: KIND'"),
    ],
)
def test_a_wrong_file_or_name(invoke, inputs, monkeypatch, arguments, message):
    monkeypatch.chdir(inputs)
    before = sorted(inputs.rglob("*"))
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr, outcome.stderr
    assert len([line for line in outcome.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert sorted(inputs.rglob("*")) == before


def test_there_are_as_many_as_people_made():
    assert len(SETTINGS) >= 134
