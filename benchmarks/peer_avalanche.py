"""The same stream, network and optimiser in this package and in avalanche-lib: accuracies, and images a second.

    pip install avalanche-lib
    python benchmarks/peer_avalanche.py accuracy --idx DIRECTORY
    python benchmarks/peer_avalanche.py speed --idx DIRECTORY

What differs and is left so: avalanche draws its replay memory by a reservoir within each experience, this package by
one random draw, and gives the whole of a batch to the first task, where avalanche keeps the place of exemplars empty;
avalanche's EWC adds up a penalty for each earlier task, this package keeps one anchor and averages
importance. What differs and is made alike: avalanche squares the mean gradient of a batch, so its importances are
computed here with batches of one; it has no one half before the penalty and no clipping; its cross-entropy runs over
all classes so far.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from myosotis.continual.classification.methods import build_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental
from myosotis.data.image_archives import read_idx
from myosotis.data.images import ImageSet, to_unit
from myosotis.evaluation.intervals import t_interval
from myosotis.models.backbone import build_backbone
from myosotis.models.image_classifier import ClassifierSpec

METHODS = ("finetune", "er", "lwf", "ewc")
EWC = 100.0
SPEC = ClassifierSpec(
    "small-resnet", 0, 1, (0.286,), (0.353,), {"widths": [16, 32, 64], "blocks": [1, 1, 1], "stem_stride": 2}
)
OURS = {
    "finetune": {},
    "er": {},
    "lwf": {"weight": 1.0, "temperature": 2.0, "columns": "seen"},
    "ewc": {"strength": 2 * EWC, "clip": None, "columns": "seen"},
}


def digits():
    """The 1,797 digits of scikit-learn, every fifth of which is for the test."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images * 15).byte().unsqueeze(1)
    names, classes = tuple(f"{row:04d}" for row in range(len(images))), tuple("0123456789")
    every = ImageSet(images, torch.from_numpy(raw.target), names, classes)
    rows = range(len(every))
    return every.subset([row for row in rows if row % 5]), every.subset([row for row in rows if row % 5 == 0])


def stream(train, test, seed, limit):
    part = train.subset(sorted(train.shuffled(seed, "limit")[:limit])) if limit < len(train) else train
    return class_incremental(part, 2, 2, test=test, order_seed=seed)


class Pictures(Dataset):
    """As torchvision's data sets give images: one at a time, through Pillow and ``ToTensor``."""

    def __init__(self, images):
        from torchvision import transforms

        self.arrays, self.labels = images.images.squeeze(1).numpy(), images.labels
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return self.transform(Image.fromarray(self.arrays[place])), int(self.labels[place])


class Plain(nn.Module):
    """The same body under avalanche's own growing head."""

    def __init__(self, seed):
        super().__init__()
        from avalanche.models import IncrementalClassifier

        self.body = build_backbone(SPEC, seed=seed)
        self.head = IncrementalClassifier(self.body.num_features, initial_out_features=2)

    def forward(self, images):
        return self.head(self.body(images).features)


def ours(method, scenario, arguments, seed):
    learner = build_learner(method, OURS[method], lambda number: build_backbone(SPEC, seed=number), seed)
    settings = TrainSettings(
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        weight_decay=0.0,
        batch_size=arguments.batch + (arguments.memory_batch if method == "er" else 0),
        memory_batch_size=arguments.memory_batch if method == "er" else None,
        schedule="constant",
    )
    memory = ExemplarMemory(total=arguments.memory if method == "er" else 0, selection="random", seed=seed)
    learned = learn_classes(learner, scenario, memory, settings, seed=seed)
    records = learned.records
    seconds = [one.seconds + one.after_seconds for one in records]
    rates = [one.images / taken for one, taken in zip(records, seconds, strict=True)]
    return (
        sum(one * count for one, count in zip(records[-1].accuracy, learned.counts, strict=True)) / sum(learned.counts),
        [one.seconds for one in records],
        rates,
    )


def theirs(method, scenario, arguments, seed):
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.training.plugins import EWCPlugin, ReplayPlugin
    from avalanche.training.plugins.evaluation import EvaluationPlugin
    from avalanche.training.supervised import LwF, Naive

    class SingleGradients(EWCPlugin):
        def compute_importances(self, model, criterion, optimizer, dataset, device, batch_size, **options):
            return super().compute_importances(model, criterion, optimizer, dataset, device, 1, **options)

    def dataset(images):
        found = Pictures(images) if arguments.pictures else TensorDataset(to_unit(images.images), images.labels)
        found.targets = images.labels.tolist()
        return as_classification_dataset(found)

    torch.manual_seed(seed)
    classes = len(scenario.classes)
    benchmark = nc_benchmark(
        dataset(scenario.train),
        dataset(scenario.test),
        n_experiences=len(scenario),
        task_labels=False,
        shuffle=False,
        fixed_class_order=list(range(classes)),
    )
    model = Plain(seed)
    plugins = []
    if method == "er":
        plugins.append(ReplayPlugin(arguments.memory, arguments.batch, arguments.memory_batch))
    if method == "ewc":
        plugins.append(SingleGradients(EWC))
    common = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=arguments.learning_rate, momentum=0.9),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": arguments.batch,
        "train_epochs": arguments.epochs,
        "eval_mb_size": 500,
        "plugins": plugins,
        "evaluator": EvaluationPlugin(loggers=[]),
    }
    strategy = LwF(alpha=1.0, temperature=2.0, **common) if method == "lwf" else Naive(**common)
    seconds, rates = [], []
    for number, experience in enumerate(benchmark.train_stream):
        started = time.perf_counter()
        strategy.train(experience, drop_last=True)
        seconds.append(time.perf_counter() - started)
        steps = len(scenario[number].train) // arguments.batch * arguments.epochs
        size = arguments.batch + (arguments.memory_batch if method == "er" and number else 0)
        rates.append(steps * size / seconds[-1])
    model.eval()
    with torch.no_grad():
        images = to_unit(scenario.test.images)
        answers = torch.cat([model(part).argmax(1) for part in images.split(500)])
    return (answers == scenario.test.labels).float().mean().item(), seconds, rates


def accuracy(arguments, train, test):
    found = {}
    for method in arguments.methods:
        pairs = []
        for seed in arguments.seeds:
            scenario = stream(train, test, seed, arguments.limit)
            pairs.append([kind(method, scenario, arguments, seed)[0] for kind in (ours, theirs)])
        gap = t_interval([one - other for one, other in pairs])
        found[method] = {"ours": [one for one, _ in pairs], "avalanche": [other for _, other in pairs]}
        means = [sum(column) / len(column) for column in zip(*pairs, strict=True)]
        ends = "" if gap.low is None else f" ({gap.low:+.3f} to {gap.high:+.3f})"
        print(
            f"{method:10} ours {means[0]:.3f}  avalanche {means[1]:.3f}  difference {gap.mean:+.3f}{ends}", flush=True
        )
    return found


def speed(arguments, train, test):
    scenario = stream(train, test, arguments.seeds[0], arguments.limit)
    best = {}
    for _ in range(arguments.rounds):
        for name, kind in (("ours", ours), ("avalanche", theirs)):
            _, seconds, rates = kind("er", scenario, arguments, arguments.seeds[0])
            if name not in best or sum(seconds) < sum(best[name]["seconds"]):
                best[name] = {"seconds": seconds, "rates": rates}
    for name, one in best.items():
        shown = " ".join(f"{value:6.2f}" for value in one["seconds"])
        mean = sum(rate * value for rate, value in zip(one["rates"], one["seconds"], strict=True)) / sum(one["seconds"])
        best[name]["images_per_second"] = mean
        print(f"{name:10} seconds of each task {shown}   {mean:.0f} images/s")
    print(f"ratio {best['ours']['images_per_second'] / best['avalanche']['images_per_second']:.2f}")
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("--idx", type=Path, help="directory of idx files; scikit-learn's digits unless given")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--memory-batch", type=int, default=16)
    parser.add_argument("--memory", type=int, default=500)
    parser.add_argument("--pictures", action="store_true", help="avalanche reads as from torchvision's data sets")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    train, test = digits() if arguments.idx is None else (read_idx(arguments.idx, split) for split in ("train", "test"))
    found = {"accuracy": accuracy, "speed": speed}[arguments.what](arguments, train, test)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
