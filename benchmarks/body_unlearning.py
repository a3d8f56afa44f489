"""Forget photos from a classifier on a pre-trained body, its last blocks fine-tuned, and exactly beside it.

EfficientNet-Lite0 with its weights of ImageNet is fine-tuned on CIFAR-10: the last block, the last convolution and the
head move, everything before stays as it is, in fine-tuning and in forgetting. Every method forgets the same photos from
the same model; *retrained* is a model that is fine-tuned from the same weights without them. Beside them RanPAC on the
untouched body, which forgets exactly, and its own retraining. ``shadow`` asks U-LiRA whether models that forgot can be
told from models that never saw the photos. ``table`` prints Markdown. Seconds are those of the processor. What is in
``--out`` already is not done again.

    python benchmarks/body_unlearning.py run    --data FOLDER --out OUT --seeds 0 1 2
    python benchmarks/body_unlearning.py shadow --data FOLDER --out OUT --pairs 8
    python benchmarks/body_unlearning.py table  --out OUT
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from myosotis.data.image_folders import read_image_folder
from myosotis.data.sets import limited
from myosotis.engine.files import write_json
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.membership import roc_auc, shortfall
from myosotis.exact import ExactClassifier, ExactSpec, exact_features
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, load_classifier, save_classifier
from myosotis.unlearning.classifier.audit import predict
from myosotis.unlearning.classifier.goals import true_label_confidence
from myosotis.unlearning.classifier.settings import PRESETS, UnlearnSettings
from myosotis.unlearning.classifier.shadow import shadow_audit, shadow_pair
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier
from myosotis.unlearning.classifier.unlearner import unlearn_instances

MOVES = ("blocks.6.", "conv_head.", "bn2.", "classifier.")
"""Beginnings of the names of the weights that move."""
ATTACK = {"copies": 10, "eps": 1.0, "step_size": 0.4, "steps": 6, "strength": 0.1}
STEPS = UnlearnSettings(forget_batch_size=128, batch_size=128, epochs=300, max_steps=300, batch_norm="freeze")
PASSES = UnlearnSettings(forget_batch_size=128, batch_size=128, epochs=2, batch_norm="freeze")
WAYS = {
    "as_unseen": PRESETS["as_unseen"],
    "recommended": PRESETS["recommended"],
    "L2UL (adv_imp)": ("misclassify", "adv_imp", ATTACK, STEPS),
    "relabel, runner-up": ("relabel", "relabel", {}, STEPS),
    "SCRUB": ("misclassify", "scrub", {}, PASSES),
    "SalUn": ("misclassify", "salun", {}, PASSES),
    "SSD": ("misclassify", "ssd", {}, PASSES),
    "recommended, head alone": PRESETS["recommended"],
    "relabel, head alone": ("relabel", "relabel", {}, STEPS),
}
"""Goal, method, its settings, and its training; or a preset."""
HEAD_ALONE = ("classifier.",)
EXACT, CONTROL = "RanPAC, exact", "RanPAC, learned anew"
"""Exact forgetting, and for U-LiRA its control: a learner that never had the photos, which nothing can tell."""
FIGURES = ("forget", "remaining", "test", "auc")


def slug(text):
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def data(arguments, seed):
    """Training and test images."""
    train, test = (read_image_folder(arguments.data / part) for part in ("train", "test"))
    return limited(train, arguments.limit, seed, "limit"), limited(test, arguments.test_limit, 0, "test_limit")


def specification(arguments, classes):
    half = (0.5, 0.5, 0.5)
    return ClassifierSpec("efficientnet-lite0", len(classes), 3, half, half, classes=classes, image_size=arguments.size)


def frozen(model, moves=MOVES):
    """The model; what does not move has no gradients, and its batch normalisation stays in evaluation mode."""
    model.requires_grad_(False).eval()
    for name, value in model.classifier.named_parameters():
        value.requires_grad_(name.startswith(moves))
    for name, module in model.classifier.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not name.startswith(moves):
            module.train = lambda _=True, module=module: module
    return model


def fine_tuned(arguments, images, seed):
    model = frozen(build_classifier(specification(arguments, images.classes), seed=seed, pretrained=True))
    settings = TrainSettings(epochs=arguments.epochs, learning_rate=arguments.learning_rate, batch_size=64)
    train_classifier(model, images.images, images.labels, settings, seed=seed)
    return model


def stored(arguments, name, images, seed):
    """A fine-tuned model and the seconds that it took, from the folder if they are there."""
    path = arguments.out / "models" / name
    if not (path / "seconds.json").is_file():
        started = time.process_time()
        model = fine_tuned(arguments, images, seed)
        seconds = time.process_time() - started
        save_classifier(model, specification(arguments, images.classes), path)
        write_json(path / "seconds.json", seconds)
    return frozen(load_classifier(path)[0]), json.loads((path / "seconds.json").read_text())


def forgotten(way, model, forget, remaining, seed):
    """What :func:`unlearn_instances` returns, and the seconds that it took."""
    started = time.process_time()
    if isinstance(way, tuple):
        goal, method, method_settings, settings = way
    else:
        goal, method, method_settings = way.goal, way.method, way.method_settings
        settings = way.settings.model_copy(update={"batch_norm": "freeze"})
    result = unlearn_instances(
        model,
        (forget.pixels(), forget.labels),
        goal=goal,
        method=method,
        method_settings=method_settings,
        settings=settings,
        retain=(remaining.pixels(), remaining.labels),
        seed=seed,
    )
    return result, time.process_time() - started


class Sums(nn.Module):
    """RanPAC on the untouched body, as a classifier of images in [0, 1]; features are computed once per image."""

    def __init__(self, arguments, classes, seed, cache):
        super().__init__()
        self.body = build_classifier(specification(arguments, ()), pretrained=True).eval().requires_grad_(False)
        spec = ExactSpec("ranpac", {"projection": arguments.projection}, self.body.classifier.num_features, seed, "")
        self.exact, self.classes, self.cache = ExactClassifier(spec, bytes(32)), classes, cache
        self.seconds = 0.0

    def rows(self, images):
        missing = [index for index, (pixels, _) in enumerate(images.hashes) if pixels not in self.cache]
        if missing:
            started = time.process_time()
            rows = exact_features(Features(self.body), images.images[missing], 12)
            seconds = (time.process_time() - started) / len(missing)
            for index, row in zip(missing, rows, strict=True):
                self.cache[images.hashes[index][0]] = (row, seconds)
        found = [self.cache[pixels] for pixels, _ in images.hashes]
        self.seconds += sum(seconds for _, seconds in found)
        return torch.stack([row for row, _ in found])

    def change(self, images, how):
        """Learn or forget; return the seconds, those of the features included."""
        self.seconds = 0.0
        rows, names = self.rows(images), [images.classes[label] for label in images.labels.tolist()]
        started = time.process_time()
        getattr(self.exact, how)(images.images, rows, names)
        self.exact.solved()
        return self.seconds + time.process_time() - started

    def forward(self, images):
        return self.exact.scores(self.body(images))

    def answers(self, images):
        """Scores of images, in the order of their classes."""
        scores = self.exact.scores(self.rows(images).double() / 2**12)
        result = torch.full((len(images), len(self.classes)), -torch.inf, dtype=scores.dtype)
        result[:, [self.classes.index(name) for name in self.exact.classes]] = scores
        return result


class Features(nn.Module):
    """A body whose output has ``features``, as those of learners have."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return argparse.Namespace(features=self.model(images))


def figures(answer, sets):
    scores = {name: answer(images) for name, images in sets.items()}
    right = {name: (scores[name].argmax(1) == images.labels).double().mean().item() for name, images in sets.items()}
    gaps = {name: shortfall(scores[name], sets[name].labels) for name in ("forget", "test")}
    return {**right, "auc": roc_auc(gaps["forget"], gaps["test"])}


def run(arguments):
    for seed in arguments.seeds:
        train, test = data(arguments, seed)
        order = train.shuffled(seed, "forget")
        model, _ = stored(arguments, f"{seed}-all", train, seed)
        cache = {}
        for size in arguments.counts:
            forget, rest = train.subset(order[:size]), train.subset(sorted(order[size:]))
            looked_at = train.subset(order[max(arguments.counts) :][: arguments.looked_at])
            sets = {"forget": forget, "remaining": looked_at, "test": test}
            retrained, seconds = stored(arguments, f"{seed}-without-{size}", rest, derive_seed(seed, "retrain"))

            def note(way, row, seed=seed, size=size):
                path = arguments.out / f"{seed}-{size}-{slug(way)}.json"
                row = {"seed": seed, "count": size, "way": way, **row}
                write_json(path, row)
                print(json.dumps(row), flush=True)

            def done(way, seed=seed, size=size):
                return (arguments.out / f"{seed}-{size}-{slug(way)}.json").is_file()

            for way, own in (("before", model), ("retrained", retrained)):
                if not done(way):
                    note(way, figures(lambda images, own=own: predict(own, images), sets))
            for way in arguments.ways:
                if not done(way):
                    frozen(model, HEAD_ALONE if way.endswith("head alone") else MOVES)
                    result, taken = forgotten(WAYS[way], model, forget, rest, seed)
                    row = figures(lambda images, own=result.model: predict(own, images), sets)
                    row |= {"seconds": taken, "retraining_seconds": seconds, "converged": result.converged}
                    note(way, row)
            if not all(done(f"RanPAC, {kind}") for kind in ("before", "retrained", "exact")):
                exact, other = (Sums(arguments, train.classes, seed, cache) for _ in range(2))
                exact.change(train, "learn")
                note("RanPAC, before", figures(exact.answers, sets))
                relearning = other.change(rest, "learn")
                note("RanPAC, retrained", figures(other.answers, sets))
                row = {"seconds": exact.change(forget, "forget"), "retraining_seconds": relearning}
                row["equal"] = exact.exact.digests() == other.exact.digests()
                note(EXACT, {**figures(exact.answers, sets), **row})


def shadow(arguments):
    """U-LiRA of SCRUB, of exact forgetting, and of learners that never had the photos."""
    seed, size = arguments.seeds[0], arguments.shadow_count
    train, test = data(arguments, seed)
    order = train.shuffled(seed, "forget")
    forget, rest = train.subset(order[:size]), train.subset(sorted(order[size:]))
    cache = {}
    for way in arguments.shadow_ways:
        path = arguments.out / f"shadow-{seed}-{size}-{slug(way)}.json"
        if path.is_file():
            continue

        def learn(images, own, way=way):
            if way not in (EXACT, CONTROL):
                return fine_tuned(arguments, images, own)
            model = Sums(arguments, train.classes, own, cache)
            model.change(images, "learn")
            return model

        def unlearn(model, images, others, own, way=way):
            if way == CONTROL:
                return learn(others, own)
            if way != EXACT:
                return forgotten(WAYS[way], model, images, others, own)[0].model
            model.change(images, "forget")
            return model

        pairs = []
        for number in range(arguments.pairs):
            pairs.append(shadow_pair(number, forget, rest, test, learn, unlearn, kept_share=0.5, seed=seed))
            print(f"{way}: pair {number + 1} of {arguments.pairs}", flush=True)
        model = unlearn(learn(train, seed), forget, rest, seed)
        observed = true_label_confidence(predict(model, forget), forget.labels)
        write_json(path, {"way": way, "count": size, **shadow_audit(pairs, observed, {})})


def cell(rows, key):
    values = [100 * row[key] if key != "auc" else row[key] for row in rows]
    digits = 2 if key == "auc" else 1
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def table(arguments):
    rows = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("[0-9]*.json"))]
    print("| photos | method | forgotten | remaining | test | test, lost | membership AUC | seconds | of retraining |")
    print(f"|{' --- |' * 9}")
    exact = ("RanPAC, before", "RanPAC, retrained", EXACT)
    for count in sorted({row["count"] for row in rows}):
        for way in ("before", "retrained", *WAYS, *exact):
            own = [row for row in rows if (row["count"], row["way"]) == (count, way)]
            if not own:
                continue
            first = "RanPAC, before" if way in exact else "before"
            before = {row["seed"]: row["test"] for row in rows if (row["count"], row["way"]) == (count, first)}
            lost = [{"lost": before[row["seed"]] - row["test"]} for row in own]
            cells = [cell(own, key) for key in ("forget", "remaining", "test")] + [cell(lost, "lost"), cell(own, "auc")]
            if "seconds" in own[0]:
                share = statistics.mean(row["seconds"] / row["retraining_seconds"] for row in own)
                cells += [f"{statistics.mean(row['seconds'] for row in own):.1f}", f"{share:.1%}"]
            else:
                cells += ["-", "-"]
            print(f"| {count} | {way}, n = {len(own)} | {' | '.join(cells)} |")
    for path in sorted(arguments.out.glob("shadow-*.json")):
        row = json.loads(path.read_text())
        print(f"\n{row['way']}, {row['count']} photos, {row['pairs']} pairs: {json.dumps(row['u_lira'])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "shadow", "table"))
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10: train/<class>/*, test/<class>/*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 16, 64, 128], help="photos to forget")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--size", type=int, default=64, help="pixels that images are scaled to")
    parser.add_argument("--limit", type=int, default=1500, help="training images")
    parser.add_argument("--test-limit", type=int, default=500)
    parser.add_argument("--looked-at", type=int, default=500, help="remaining images that are looked at")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--projection", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=8, help="pairs of shadow models")
    parser.add_argument("--shadow-count", type=int, default=16)
    parser.add_argument("--shadow-ways", nargs="+", choices=(*WAYS, EXACT, CONTROL), default=[EXACT, CONTROL, "SCRUB"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    {"run": run, "shadow": shadow, "table": table}[arguments.what](arguments)


if __name__ == "__main__":
    main()
