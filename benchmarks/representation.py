"""What continual learners' encoders know: linear and nearest-neighbour probes after each task, methods side by side.

Settings are those of class_incremental.py. Rows that are in ``--out`` already are not computed again. With ``--shared``
all learners begin with one encoder of the first task, that of plain fine-tuning. Downstream: scikit-learn's digits.

    python benchmarks/representation.py --idx DIRECTORY --out rows-probe --workers 2 [--shared]
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch.nn import functional

from class_incremental import RATES, SHORT, SPLIT
from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.probing import features_of, head_to_probe
from myosotis.continual.classification.saved import LearnerSpec, make_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.metrics import accuracy_curve
from myosotis.continual.scenario import class_incremental
from myosotis.data.image_archives import read_idx
from myosotis.data.images import pixel_statistics
from myosotis.engine.files import write_json
from myosotis.evaluation.probe import linear_probe
from myosotis.evaluation.representation import Encoding, representation_report
from myosotis.models.image_classifier import ClassifierSpec

COMPARED = ("finetune", "er", "icarl", "wa", "bic", "podnet", "der_expand", "ssil", "joint")


def digits():
    """Training and test images, and their labels: every fifth is for the test."""
    found = load_digits()
    images = torch.from_numpy(found.images).float().unsqueeze(1) * 255 / 16
    large = functional.interpolate(images, size=28, mode="bilinear").round().byte()
    labels, test = torch.from_numpy(found.target).long(), torch.arange(len(large)) % 5 == 0
    return (large[~test], labels[~test]), (large[test], labels[test])


def prepared(arguments, method, seed):
    """The stream, a learner and how it is trained."""
    train, test = (read_idx(Path(arguments["idx"]), split) for split in ("train", "test"))
    train = train.subset(sorted(train.shuffled(seed, "limit")[: arguments["limit"]]))
    test = test.subset(sorted(test.shuffled(seed, "limit")[: arguments["test_limit"]]))
    stream = class_incremental(train, 2, 2, test=test, order_seed=seed, seed=seed)
    mean, std = pixel_statistics(stream.train, stream[0].train.indices)
    options = {"widths": [16, 32, 64], "blocks": [1, 1, 1], "stem_stride": 2}
    body = ClassifierSpec("small-resnet", 0, 1, mean, std, options, stream.classes)
    sizes = tuple(len(one.classes) for one in stream)
    learner = make_learner(LearnerSpec(method, SHORT.get(method, {}), body, NormConfig(), sizes, seed))
    settings = TrainSettings(
        epochs=arguments["epochs"],
        learning_rate=RATES.get(method, 0.1),
        memory_batch_size=16 if method in SPLIT else None,
    )
    memory = ExemplarMemory(total=arguments["memory"] if METHODS[method].reads_memory else 0, seed=seed)
    return stream, learner, memory, settings


def shared_encoder(arguments, seed):
    """Weights of the backbone that plain fine-tuning has after the first task; one file for each seed."""
    place = Path(arguments["out"]) / f"encoder-{seed}.safetensors"
    if not place.is_file():
        stream, *rest = prepared(arguments, "finetune", seed)
        learn_classes(rest[0], replace(stream, tasks=stream.tasks[:1]), *rest[1:], seed=seed)
        save_file(rest[0].encoder().state_dict(), place)
    return load_file(place)


def run(task):
    arguments, method, seed = task
    place = Path(arguments["out"]) / f"{method}-{seed}.json"
    if place.is_file():
        return
    torch.set_num_threads(1)
    stream, learner, memory, settings = prepared(arguments, method, seed)
    history, alignment, elsewhere = [], [], []
    (train, train_labels), (test, test_labels) = digits()

    def look(number, one):
        every = torch.arange(len(stream.train))
        history.append(
            Encoding(
                features_of(one, stream.train.images, every),
                features_of(one, stream.test.images, torch.arange(len(stream.test))),
            )
        )
        alignment.append(head_to_probe(one, history[-1], stream, every, number, seed=seed))
        features = (features_of(one, some, torch.arange(len(some))) for some in (train, test))
        elsewhere.append(linear_probe(next(features), train_labels, next(features), test_labels, seed=seed).accuracy)

    encoder = shared_encoder(arguments, seed) if arguments["shared"] else None
    learned = learn_classes(learner, stream, memory, settings, seed=seed, on_task=look, encoder=encoder)
    found = representation_report(
        history,
        stream.train.labels,
        stream.test.labels,
        [list(one.classes) for one in stream],
        accuracies=accuracy_curve(learned.matrix(), learned.counts).tolist(),
        seed=seed,
    )
    write_json(place, {**asdict(found), "head_to_probe": alignment, "downstream": elsewhere})


def shown(values):
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idx", required=True, help="directory of idx files, e.g. those of Fashion-MNIST")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(COMPARED), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--test-limit", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=500)
    parser.add_argument("--shared", action="store_true", help="begin with one encoder of the first task")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    plain = {**vars(arguments), "out": str(arguments.out)}
    if arguments.shared:
        for seed in arguments.seeds:
            shared_encoder(plain, seed)
    tasks = [(plain, method, seed) for seed in arguments.seeds for method in arguments.methods]
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(run, tasks))
    else:
        for task in tasks:
            run(task)
    rows = {
        method: {seed: json.loads((arguments.out / f"{method}-{seed}.json").read_text()) for seed in arguments.seeds}
        for method in arguments.methods
    }
    columns = ("own accuracy", "probe", "head gap", "k-NN", "gain", "net of naive", "stability", "plasticity")
    columns += ("head to probe", "digits, first", "digits, last")
    print(f"| method | {' | '.join(columns)} |")
    print("| --- " * (len(columns) + 1) + "|")
    for method, seeds in rows.items():
        naive = rows.get("finetune")
        figures = [
            [100 * (one["probe_seen"][-1] - one["head_gap"][-1]) for one in seeds.values()],
            [100 * one["probe_seen"][-1] for one in seeds.values()],
            [100 * one["head_gap"][-1] for one in seeds.values()],
            [100 * one["knn_seen"][-1] for one in seeds.values()],
            [100 * one["gain"] for one in seeds.values()],
            [100 * (one["gain"] - naive[seed]["gain"]) for seed, one in seeds.items()] if naive else [],
            [one["stability"] for one in seeds.values()],
            [100 * statistics.mean(one["plasticity"]) for one in seeds.values()],
            [one["head_to_probe"][-1] for one in seeds.values() if one["head_to_probe"][-1] is not None],
            [100 * one["downstream"][0] for one in seeds.values()],
            [100 * one["downstream"][-1] for one in seeds.values()],
        ]
        cells = [
            "-"
            if not values
            else f"{statistics.mean(values):.2f}"
            if name in ("stability", "head to probe")
            else shown(values)
            for name, values in zip(columns, figures, strict=True)
        ]
        print(f"| `{method}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
