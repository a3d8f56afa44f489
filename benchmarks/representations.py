"""Continual self-supervised learning: methods over bases on streams of classes, of samples and of domains.

Rows that are in ``--out`` already are not computed again. ``--tune`` runs one development seed, which is in no table.

    python benchmarks/representations.py fashion --idx DIRECTORY --out rows --workers 2
    python benchmarks/representations.py fashion --idx DIRECTORY --out rows --workers 2 --kind data
    python benchmarks/representations.py fashion --idx DIRECTORY --out rows --workers 2 --kind domain
    python benchmarks/representations.py cifar --folder DIRECTORY --out rows --workers 2
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental, data_incremental, domain_incremental
from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.inputs import changed
from myosotis.continual.selfsupervised.measuring import ProbeSettings, stream_figures
from myosotis.continual.selfsupervised.methods import METHODS, build_learner
from myosotis.continual.selfsupervised.training import SslSettings, learn_representations
from myosotis.data.image_archives import read_idx
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import pixel_statistics
from myosotis.data.sets import limited
from myosotis.data.views import ViewSettings
from myosotis.engine.files import write_json
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.intervals import t_interval
from myosotis.models.normalization import Normalize

VARIANTS = {
    "finetune": ("finetune", {}),
    "cassle": ("cassle", {}),
    "pnr": ("pnr", {}),
    "pnr_plasticity": ("pnr", {"stab_negs": "past"}),
    "pnr_stability": ("pnr", {"plast_negs": "cur"}),
    "less_forget": ("less_forget", {}),
    "pfr": ("pfr", {}),
    "ewc": ("ewc", {}),
    "er": ("er", {}),
    "dark_er": ("dark_er", {}),
    "lump": ("lump", {}),
    "joint": ("joint", {}),
}
ABLATIONS = {"moco": ("pnr_plasticity", "pnr_stability"), "simclr": ("pnr_plasticity", "pnr_stability")}
RATES = {"moco": 0.25, "simclr": 0.06, "barlow": 0.06}
"""Chosen for fine-tuning on the development seed, see --tune."""
MEMORY = 200
DEVELOPMENT = 100
DOMAINS = ("none", "invert", "rotate_90")
WIDTH = 32


def encoder_of(channels, mean, std, seed):
    """Three strided convolutions, WIDTH to 4 WIDTH channels: 92,000 parameters, for two cores."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers, width = [Normalize(mean, std)], channels
        for wanted in (WIDTH, 2 * WIDTH, 4 * WIDTH):
            layers += [nn.Conv2d(width, wanted, 3, 2, 1, bias=False), nn.BatchNorm2d(wanted), nn.ReLU()]
            width = wanted
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def read(arguments):
    """Training and test images."""
    if arguments["data"] == "fashion":
        return tuple(read_idx(Path(arguments["idx"]), split) for split in ("train", "test"))
    return tuple(read_image_folder(Path(arguments["folder"]) / split) for split in ("train", "test"))


_READ = []


def prepared(arguments, seed):
    """The stream of a seed."""
    if not _READ:
        _READ.extend(read(arguments))
    train, test = _READ
    test = limited(test, min(len(test), arguments["test_count"]), 0, "test")
    kind = arguments["kind"]
    if kind == "domain":
        parts = [
            (changed(limited(train, arguments["count"], derive_seed(seed, "domain", at), "count"), change), change)
            for at, change in enumerate(DOMAINS)
        ]
        return domain_incremental([one for one, _ in parts], tests=[changed(test, change) for _, change in parts])
    part = limited(train, arguments["count"], seed, "count")
    if kind == "data":
        return data_incremental(part, 5, test=test, seed=seed)
    return class_incremental(part, 2, 2, test=test, order_seed=seed, seed=seed)


def chosen(arguments):
    """What a row depends on beside its name."""
    keys = ("count", "test_count", "epochs", "batch", "rate", "hidden", "dim", "wide", "queue", "exclude")
    return {key: arguments[key] for key in keys}


def row(task):
    """One method over one base on the stream of one seed."""
    arguments, base, variant, seed = task
    torch.set_num_threads(1)
    place = Path(arguments["out"]) / f"{arguments['data']}-{arguments['kind']}-{base}-{variant}-{seed}.json"
    if arguments["tune"]:
        place = place.with_name(f"tune-{arguments['rate']:g}-{place.name}")
    if place.is_file():
        if json.loads(place.read_text())["arguments"] != chosen(arguments):
            raise SystemExit(f"{place}: was computed with other arguments; give another --out")
        return
    scenario = prepared(arguments, seed)
    colour = scenario.train.images.shape[1] == 3
    of_base = {"hidden": arguments["hidden"], "dim": arguments["dim"]}
    if base == "moco":
        of_base |= {"queue": arguments["queue"], "exclude_same_sample": arguments["exclude"]}
    if base in ("barlow", "vicreg"):
        of_base["dim"] = arguments["wide"]
    name, own = VARIANTS[variant]
    if "hidden" in vars(METHODS.settings(name)):
        own = {**own, "hidden": arguments["hidden"]}
    mean, std = pixel_statistics(scenario.train, scenario[0].train.indices)
    encoder = encoder_of(scenario.train.images.shape[1], mean, std, seed)
    learner = build_learner(name, own, build_base(base, of_base), encoder, 4 * WIDTH, seed)
    views = ViewSettings(area=(0.2, 1.0), solarise=(0.0, 0.0))
    if not colour:
        views = ViewSettings(area=(0.2, 1.0), hue=0.0, saturation=0.0, grey=0.0, solarise=(0.0, 0.0))
    settings = SslSettings(
        epochs=arguments["epochs"],
        learning_rate=arguments["rate"] or RATES[base],
        batch_size=arguments["batch"],
        weight_decay=1e-4,
        views=views,
    )
    memory = ExemplarMemory(total=MEMORY if learner.reads_memory else 0, selection="reservoir", seed=seed)
    probes = ProbeSettings(mode="balanced", per_class=min(200, arguments["count"] // 10))
    started = time.monotonic()
    outcome = learn_representations(learner, scenario, memory, settings, probes, seed=seed, shown=0)
    seconds = time.monotonic() - started
    history = [record.measured for record in outcome.records]
    write_json(
        place,
        {
            "arguments": chosen(arguments),
            "linear": stream_figures(outcome.before, history).model_dump(),
            "knn": stream_figures(outcome.before, history, "knn").model_dump(),
            "before": outcome.before.model_dump(),
            "history": [one.model_dump() for one in history],
            "few_labels": outcome.few_labels,
            "training_seconds": [record.seconds for record in outcome.records],
            "seconds": seconds,
        },
    )


def told(values):
    """Mean and half-width of a 95 % t interval, in points."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    interval = t_interval(known)
    wide = "" if interval.low is None else f" ± {interval.mean - interval.low:.1f}"
    return f"{interval.mean:.1f}{wide}"


def show(arguments, rows):
    """Final figures, and paired differences."""
    print("| base | method | linear, end | k-NN, end | when learnt | forgetting | forward transfer | runs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for base in arguments.bases:
        first = next(iter(rows[base].values()))
        start = [one["before"] for one in first.values()]
        cells = [told([one["linear_all"] for one in start]), told([one["knn_all"] for one in start])]
        print(f"| {base} | untrained | {' | '.join(cells)} | - | - | - | {len(start)} |")
        for variant, some in rows[base].items():
            found = list(some.values())
            cells = [
                told([one["linear"]["final"] for one in found]),
                told([one["knn"]["final"] for one in found]),
                *(
                    told([one["linear"][key] for one in found])
                    for key in ("learning", "forgetting", "forward_transfer")
                ),
            ]
            print(f"| {base} | `{variant}` | {' | '.join(cells)} | {len(found)} |")
    print("\n| base | difference at the end | linear | k-NN | seeds in favour, linear |")
    print("| --- | --- | --- | --- | --- |")
    pairs = (("cassle", "finetune"), ("pnr", "finetune"), ("pnr", "cassle"), ("joint", "finetune"))
    pairs += (("pnr", "pnr_plasticity"), ("pnr", "pnr_stability"))
    for base in arguments.bases:
        for one, other in pairs:
            if one in rows[base] and other in rows[base]:
                linear, knn = (
                    [
                        found[kind]["final"] - rows[base][other][seed][kind]["final"]
                        for seed, found in rows[base][one].items()
                    ]
                    for kind in ("linear", "knn")
                )
                better = sum(value > 0 for value in linear)
                cells = f"{told(linear)} | {told(knn)} | {better} of {len(linear)}"
                print(f"| {base} | `{one}` less `{other}` | {cells} |")
    every = [one for some in rows.values() for by_seed in some.values() for one in by_seed.values()]
    print(f"\nseconds in all: {sum(one['seconds'] for one in every):.0f}; a run: ", end="")
    print(f"{statistics.mean(one['seconds'] for one in every):.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("fashion", "cifar"))
    parser.add_argument("--idx", help="directory of idx files, e.g. those of Fashion-MNIST")
    parser.add_argument("--folder", help="directory with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("class", "data", "domain"), default="class")
    parser.add_argument(
        "--bases", nargs="+", default=["moco", "simclr", "barlow"], choices=("moco", "simclr", "barlow")
    )
    parser.add_argument("--methods", nargs="+", default=["finetune", "cassle", "pnr", "joint"], choices=VARIANTS)
    parser.add_argument("--ablations", action="store_true", help="PNR with negatives of one term only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tune", action="store_true", help="one development seed")
    parser.add_argument("--count", type=int, default=5000, help="images of a stream, or of each domain")
    parser.add_argument("--test-count", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.0, help="0: the chosen one of each base")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--wide", type=int, default=256, help="embeddings of Barlow Twins")
    parser.add_argument("--queue", type=int, default=512)
    parser.add_argument("--exclude", action="store_true", help="exclude_same_sample")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.tune:
        arguments.seeds = [DEVELOPMENT]
    arguments.out.mkdir(parents=True, exist_ok=True)
    plain = {**vars(arguments), "out": str(arguments.out)}
    wanted = {
        base: [*arguments.methods, *(ABLATIONS.get(base, ()) if arguments.ablations else ())]
        for base in arguments.bases
    }
    tasks = [
        (plain, base, variant, seed) for base in arguments.bases for seed in arguments.seeds for variant in wanted[base]
    ]
    started = time.monotonic()
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(row, tasks))
    else:
        for task in tasks:
            row(task)

    def kept(base, variant, seed):
        name = f"{arguments.data}-{arguments.kind}-{base}-{variant}-{seed}.json"
        if arguments.tune:
            name = f"tune-{arguments.rate:g}-{name}"
        return json.loads((arguments.out / name).read_text())

    rows = {
        base: {variant: {seed: kept(base, variant, seed) for seed in arguments.seeds} for variant in wanted[base]}
        for base in arguments.bases
    }
    show(arguments, rows)
    print(f"wall time of this call: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
