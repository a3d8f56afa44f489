"""Heads that forget exactly: accuracy against plain float32 heads, what forgetting costs, and that it is exact.

``heads`` learns CIFAR-10 or Fashion-MNIST on the frozen EfficientNet-Lite0 at several image sizes, all heads from one
computation of the features, on three draws of the training images; beside each its plain float32 form, with the same
lambda. ``cost`` times requests to learners of different sizes, with drawn features, from the files of one learner to
those of the next. Seconds are those of the processor, on one thread, the least of three.

    python benchmarks/exact.py heads --data FOLDER --out OUT --sizes 64 128
    python benchmarks/exact.py cost --out OUT
    python benchmarks/exact.py table --out OUT
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet
from myosotis.data.sets import limited
from myosotis.data.sources import SourceConfig, read_images
from myosotis.exact import HEADS, ExactClassifier, ExactSpec, exact_features
from myosotis.models.backbone import build_backbone
from myosotis.models.image_classifier import ClassifierSpec

SETTINGS = {"simplecil": {}, "ranpac": {"projection": 2000}, "fecam": {}}
FASHION = Path("/usr/share/datasets/fashion-mnist")


def read(arguments):
    if arguments.data is not None:
        return read_image_folder(arguments.data / "train"), read_image_folder(arguments.data / "test")
    sources = [SourceConfig(idx=str(FASHION), split=split) for split in ("train", "test")]
    return tuple(read_images(source) for source in sources)


def make_body(size):
    half = (0.5, 0.5, 0.5)
    spec = ClassifierSpec("efficientnet-lite0", 0, 3, half, half, image_size=size)
    return build_backbone(spec, pretrained=True).eval().requires_grad_(False)


def single_precision(body, images):
    """Features as they come, in float32."""
    with torch.no_grad():
        return torch.cat([body(part.float() / 255).features for part in images.images.split(100)])


def names(images):
    return [images.classes[label] for label in images.labels.tolist()]


def timed(work, times=3):
    """What a function returns, and the least seconds of the processor that it took."""
    least = float("inf")
    for _ in range(times):
        started = time.process_time()
        found = work()
        least = min(least, time.process_time() - started)
    return found, least


def learned(spec, images, rows, classes, times=3):
    """A learner of these records, and the seconds of learning; a random projection was drawn before."""
    least = float("inf")
    for _ in range(times):
        classifier = ExactClassifier(spec, bytes(32))
        classifier.head.constants()
        _, seconds = timed(lambda own=classifier: own.learn(images, rows, classes), 1)
        least = min(least, seconds)
    return classifier, least


def solved(classifier, **settings):
    """The head anew, with these settings."""
    spec = classifier.spec
    return HEADS.build(spec.head, {**spec.settings, **settings}, spec.width, spec.seed).solve(classifier.sums)


def plain_scores(head, classifier, train, labels, test):
    """Scores of the float32 head: the same formulas without a grid, in one pass over the training images."""
    classes = len(classifier.classes)
    if head == "simplecil":
        means = torch.stack([train[labels == label].mean(0) for label in range(classes)])
        unit = torch.nn.functional.normalize
        return unit(test, dim=1) @ unit(means, dim=1).T
    if head == "ranpac":
        projection = classifier.solved()["projection"].float() / 256
        ridge = float(classifier.solved()["ridge"])
        projected = (train @ projection).relu()
        gram = projected.T @ projected + ridge * torch.eye(projected.shape[1])
        targets = torch.nn.functional.one_hot(labels, classes).float()
        return (test @ projection).relu() @ torch.linalg.solve(gram, projected.T @ targets)
    own, points = classifier.head, torch.nn.functional.normalize(test.sqrt(), dim=1)
    distances = []
    for label in range(classes):
        values = train[labels == label].sqrt()
        mean = torch.nn.functional.normalize(values.mean(0), dim=0)
        offsets = points - mean
        distances.append(((offsets @ own._inverse(values.T.cov())) * offsets).sum(1))
    return -torch.stack(distances, dim=1)


def heads(arguments):
    train, test = read(arguments)
    test = limited(test, arguments.test_limit, 0, "test_limit")
    path = arguments.out / "heads.jsonl"
    for size in arguments.sizes:
        body = make_body(size)
        draws = [limited(train, arguments.limit, seed, "limit") for seed in arguments.seeds]
        known = sorted({name for draw in draws for name in draw.names})
        number = {name: index for index, name in enumerate(train.names)}
        whole: ImageSet = train.subset([number[name] for name in known])
        rows, seconds = timed(lambda body=body, whole=whole: exact_features(body, whole.images, 12), 1)
        seconds /= len(whole)
        row_of = {name: index for index, name in enumerate(whole.names)}
        features, rough = single_precision(body, test), single_precision(body, whole)
        for seed, draw in zip(arguments.seeds, draws, strict=True):
            chosen = [row_of[name] for name in draw.names]
            own = rows[chosen]
            order = {name: index for index, name in enumerate(sorted(set(names(draw))))}
            labels = torch.tensor([order[name] for name in names(draw)])
            right = torch.tensor([order[name] for name in names(test)])
            for head in HEADS:
                spec = ExactSpec(head, SETTINGS[head], body.num_features, seed, "")
                classifier, learn = learned(spec, draw.images, own, names(draw))
                _, solve = timed(lambda classifier=classifier: solved(classifier))
                ridge = float(classifier.solved()["ridge"]) if head == "ranpac" else None
                given = {} if ridge is None else {"ridge": ridge}
                _, given_seconds = timed(lambda own=classifier, given=given: solved(own, **given))
                exact = (classifier.scores(features).argmax(1) == right).float().mean().item()
                known = (head, classifier, rough[chosen], labels, features)
                scores, plain_seconds = timed(lambda known=known: plain_scores(*known))
                row = {
                    "data": "CIFAR-10" if arguments.data is not None else "Fashion-MNIST",
                    "size": size,
                    "seed": seed,
                    "head": head,
                    "train": len(draw),
                    "test": len(test),
                    "accuracy": exact,
                    "plain": (scores.argmax(1) == right).float().mean().item(),
                    "ridge": ridge,
                    "feature_seconds": seconds,
                    "learn_seconds": learn,
                    "solve_seconds": solve,
                    "given_seconds": given_seconds,
                    "plain_seconds": plain_seconds,
                }
                print(json.dumps(row), flush=True)
                with path.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")


def cost(arguments):
    """Seconds to forget 1 and 1,000 of 5,000 and of 50,000 records, and whether it is exact."""
    path = arguments.out / "cost.jsonl"
    for count in arguments.counts:
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(10, 1280, generator=generator) + 0.5
        rows = torch.rand(count, 1280, generator=generator) ** 4 * 6 * 4096
        rows = (rows * patterns[torch.arange(count) % 10]).round().int()
        images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        labels = [str(number % 10) for number in range(count)]
        for head in arguments.heads:
            spec = ExactSpec(head, SETTINGS[head], 1280, 0, "")
            before, learn = learned(spec, images, rows, labels, 1)
            for forgotten in (1, 1000):
                asked = (images[:forgotten], rows[:forgotten], labels[:forgotten])
                best = None
                for _ in range(3):
                    with tempfile.TemporaryDirectory() as folder:
                        before.save(Path(folder) / "before")
                        classifier, load = timed(lambda path=Path(folder): ExactClassifier.load(path / "before"), 1)
                        _, subtract = timed(lambda own=classifier, asked=asked: own.forget(*asked), 1)
                        _, solve = timed(classifier.solved, 1)
                        _, save = timed(lambda own=classifier, path=Path(folder): own.save(path / "after"), 1)
                    parts = {"load": load, "subtract": subtract, "solve": solve, "save": save}
                    best = parts if best is None or sum(parts.values()) < sum(best.values()) else best
                rest, _ = learned(spec, images[forgotten:], rows[forgotten:], labels[forgotten:], 1)
                row = {
                    "head": head,
                    "records": count,
                    "forgotten": forgotten,
                    "learn_seconds": learn,
                    **{f"{part}_seconds": seconds for part, seconds in best.items()},
                    "all_seconds": sum(best.values()),
                    "equal": rest.digests() == classifier.digests(),
                }
                print(json.dumps(row), flush=True)
                with path.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(arguments):
    found = {}
    for row in rows_of(arguments.out / "heads.jsonl"):
        found.setdefault((row["data"], row["size"], row["head"]), []).append(row)
    columns = ("data", "pixels", "head", "exact", "float32", "lambda", "features, ms an image", "learn, s", "solve, s")
    print(f"| {' | '.join((*columns, 'with lambda given, s', 'float32, s'))} |")
    print(f"|{' --- |' * (len(columns) + 2)}")
    for (data, size, head), rows in found.items():

        def spread(key, rows=rows):
            values = [100 * row[key] for row in rows]
            more = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.1f}{more}"

        def mean(key, rows=rows):
            return statistics.mean(row[key] for row in rows)

        ridges = sorted({f"{row['ridge']:g}" for row in rows if row["ridge"]})
        cells = [spread("accuracy"), spread("plain"), ", ".join(ridges) or "-", f"{1000 * mean('feature_seconds'):.0f}"]
        cells += [f"{mean('learn_seconds'):.2f}", f"{mean('solve_seconds'):.2f}"]
        cells += [f"{mean('given_seconds'):.2f}", f"{mean('plain_seconds'):.2f}"]
        print(f"| {data} | {size} | {head} | {' | '.join(cells)} |")
    parts = ("learn", "load", "subtract", "solve", "save", "all")
    print(f"\n| head | records | forgotten | {', '.join(parts).replace(', ', ', s | ')}, s | equal digests |")
    print(f"|{' --- |' * 10}")
    for row in rows_of(arguments.out / "cost.jsonl"):
        seconds = [f"{row[f'{part}_seconds']:.2f}" for part in parts]
        cells = [row["head"], f"{row['records']:,}", f"{row['forgotten']:,}", *seconds, str(row["equal"])]
        print(f"| {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("heads", "cost", "table"))
    parser.add_argument("--data", type=Path, help="folder with train/ and test/; Fashion-MNIST unless given")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--limit", type=int, default=1500)
    parser.add_argument("--test-limit", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--counts", type=int, nargs="+", default=[5000, 50000])
    parser.add_argument("--heads", nargs="+", default=["simplecil", "ranpac"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    {"heads": heads, "cost": cost, "table": table}[arguments.what](arguments)


if __name__ == "__main__":
    main()
