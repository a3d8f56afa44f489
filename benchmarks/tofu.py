"""TOFU on two processor cores: every method from one taught model, learning rates tuned on other authors.

The model and the reference are those that ``myosotis run tofu-smollm2-small.yaml`` teaches and keeps; no
method teaches again. ``tune`` tries five learning rates for every method on two authors of the retain set, with two
further authors held out and eight that were never taught, other ones than those reported; the score is the harmonic
mean of how close the forget set comes to text that was never seen and of what is retained. ``measure`` runs the
command line with the best rate, once a seed; the first run of a seed measures the models before and the others take
that over. ``grid`` is LoKU's claim: an adapter with and without the FILA start over ranks and rates, with the norm of
the merged change of the weights. ``table`` prints Markdown. What ``--out`` holds already is not done again.

    python benchmarks/tofu.py tune    --tofu DIR --models RUN/checkpoints --out OUT
    python benchmarks/tofu.py measure --tofu DIR --models RUN/checkpoints --out OUT --seeds 0 1 2
    python benchmarks/tofu.py grid    --tofu DIR --models RUN/checkpoints --out OUT
    python benchmarks/tofu.py table   --out OUT
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy import stats

from myosotis.data.encoding import Encoder
from myosotis.engine.config import load_config
from myosotis.engine.seeding import derive_seed
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import UnlearnTrainer
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.job.config import FileConfig, LanguageUnlearningConfig, TeacherConfig
from myosotis.unlearning.language.job.inputs import encode_records
from myosotis.unlearning.language.job.sources import read_source
from myosotis.unlearning.language.job.teaching import proxy
from myosotis.unlearning.language.job.trainer_settings import lora_config, trainer_settings
from myosotis.unlearning.language.training.records import EncodedRecord
from myosotis.unlearning.language.training.selection import Selection

EXAMPLES = Path(__file__).parents[1] / "examples"
JOB = EXAMPLES / "benchmarks" / "tofu-smollm2-small.yaml"

TOP = r".*layers\.2[0-9]\..*(q|k|v|o|gate|up|down)_proj"
STEERED = r".*layers\.[5-7]\..*(q|k|v|o|gate|up|down)_proj"
MODULES = {"rmu": STEERED, "counterfactual": "all-linear"}
"""Modules with an adapter: the last ten of thirty blocks; RMU steers the output of block 7, so those before it."""

METHODS = {
    "ihl": {"name": "ihl"},
    "loku": {"name": "ihl"},
    "ga": {"name": "ga"},
    "gd": {"name": "gd"},
    "gd+fila": {"name": "gd"},
    "npo": {"name": "npo"},
    "simnpo": {"name": "simnpo"},
    "undial": {"name": "undial"},
    "wga": {"name": "wga"},
    "altpo": {"name": "altpo"},
    "dpo": {"name": "dpo"},
    "rmu": {"name": "rmu", "block": 7, "coefficient": 20.0},
    "task-vector": {"name": "task-vector"},
    "counterfactual": {"name": "counterfactual", "teacher": "proxy"},
}
FILA = ("loku", "gd+fila")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
GRID = {"ihl": (1e-3, 2e-3, 4e-3), "loku": (3e-5, 1e-4, 2e-4)}
GRID |= {"gd": GRID["ihl"], "gd+fila": GRID["loku"]}
RANKS = (4, 8, 16, 32)
"""The grid of LoKU's claim: rates of either start that move the weights about as far."""

TEACHER = {"base": "smollm2-135m", "records": 200, "precision": "bf16"}
COUNTERFACTUAL = {"teacher": TEACHER, "training.epochs": 6, "training.batch_size": 4}
"""The proxy never saw the authors; six times the steps of the others, which pull from where they start."""

FIELDS = {"prompt": "question", "response": "answer"}
TUNING = {"forget": (560, 40), "held": (600, 40), "retain": (0, 560), "unseen": (800, 160)}
"""Rows of retain90, skipped and taken: authors that the model knows, but of which no figure is reported."""


def overrides(name, rate, rank=16):
    lora = {
        "rank": rank,
        "alpha": 2 * rank,
        "init": "fila" if name in FILA else "default",
        "target_modules": MODULES.get(name, TOP),
    }
    values = {
        "fine_tune": None,
        "reference": None,
        "keep_fine_tuned": False,
        "method": METHODS[name],
        "lora": lora,
        "training.learning_rate": rate,
    }
    return values | (COUNTERFACTUAL if name == "counterfactual" else {})


def settings(values):
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def tuning_sets(arguments, tokenizer, config):
    encoder = Encoder(tokenizer, config.data.template, config.data.max_length)
    file = str(arguments.tofu.resolve() / "retain90.jsonl")
    records = {
        part: read_source(FileConfig(file=file, fields=FIELDS, skip=skip, take=take, rows_per_subject=20))
        for part, (skip, take) in TUNING.items()
    }
    return records, {part: encode_records(rows, encoder, part) for part, rows in records.items()}


def accuracy(model, examples):
    with torch.autocast("cpu", torch.bfloat16, enabled=not torch.accelerator.is_available()):
        return answer_metrics(model, examples)["token_accuracy"].double().mean().item()


def change_of(adapted):
    """Frobenius norm of the merged change of the weights; of a FILA start, beyond what it started with."""
    total = 0.0
    for name, module in adapted.model.named_modules():
        if hasattr(module, "lora_A"):
            delta = module.get_delta_weight("default").double()
            start = adapted.initial_factors
            if start is not None:
                plain = name.removeprefix("base_model.model.")
                delta = delta - module.scaling["default"] * (start[f"{plain}.b"] @ start[f"{plain}.a"]).double()
            total += delta.square().sum().item()
    return total**0.5


def tried(arguments, name, rate, rank, seed, levels):
    """One training on the tuning authors, and what it forgets and retains."""
    config = load_config(JOB, LanguageUnlearningConfig, settings(overrides(name, rate, rank)))
    model, tokenizer = load_causal_lm(str(arguments.models / "target"))
    records, sets = tuning_sets(arguments, tokenizer, config)
    args = trainer_settings(config, arguments.out / "trainer")
    args.per_device_train_batch_size = 4  # half the authors, as many steps
    args.seed = derive_seed(seed, "unlearning") % 2**32
    started = time.perf_counter()
    teacher = None
    if name == "counterfactual":
        teacher = taught_proxy(arguments, sets["retain"], seed)
    forget = [EncodedRecord(*pair) for pair in zip(sets["forget"], records["forget"], strict=True)]
    trainer = UnlearnTrainer(model, args, forget, sets["retain"], tokenizer, lora_config(config.lora), teacher=teacher)
    trainer.train()
    seconds = time.perf_counter() - started
    norm = None if trainer.method.negation else change_of(trainer)
    plain = trainer.model.merge_and_unload().eval()
    forgotten, kept = accuracy(plain, sets["forget"]), accuracy(plain, sets["held"])
    row = {
        "method": name,
        "rate": rate,
        "rank": rank,
        "seed": seed,
        "forget": forgotten,
        "held": kept,
        "score": Selection(sets["forget"], sets["held"], levels["unseen"]).score(forgotten, kept),
        "change": norm,
        "stop_reason": trainer.stop_reason,
        "seconds": seconds,
    }
    print(json.dumps(row), flush=True)
    return row


def taught_proxy(arguments, retain, seed):
    """The teacher that never saw the tuning authors, taught once a seed."""
    path, base = arguments.out / f"proxy-{seed}", TEACHER["base"]
    if not path.is_dir():
        model, tokenizer = load_causal_lm(base)
        own = TeacherConfig(**TEACHER)
        with TemporaryDirectory() as directory:
            model = proxy(model, tokenizer, retain, own, seed=seed, directory=Path(directory))
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return load_causal_lm(str(path))[0]


def levels_of(arguments):
    path = arguments.out / "levels.json"
    if not path.is_file():
        config = load_config(JOB, LanguageUnlearningConfig, settings(overrides("ihl", 1e-3)))
        model, tokenizer = load_causal_lm(str(arguments.models / "target"))
        _, sets = tuning_sets(arguments, tokenizer, config)
        values = {part: accuracy(model, sets[part]) for part in ("forget", "held", "unseen")}
        path.write_text(json.dumps(values))
    return json.loads(path.read_text())


def sweep(arguments, file, jobs):
    """Try what is not in a file of JSON lines yet."""
    path = arguments.out / file
    done = {(row["method"], row["rate"], row["rank"], row["seed"]) for row in read_rows(path)}
    levels = levels_of(arguments)
    for job in jobs:
        if job not in done:
            row = tried(arguments, *job, levels)
            with path.open("a") as stream:
                stream.write(json.dumps(row) + "\n")


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def best_rates(out):
    rows = read_rows(out / "tuning.jsonl")
    return {
        name: max((row for row in rows if row["method"] == name), key=lambda row: row["score"])["rate"]
        for name in dict.fromkeys(row["method"] for row in rows)
    }


def measure(arguments):
    rates = best_rates(arguments.out)
    for seed in arguments.seeds:
        baseline = None
        for name in arguments.methods:
            run = arguments.out / f"{name}-{seed}"
            if not (run / "result.json").is_file():
                files = {
                    f"data.{part}.file": str(arguments.tofu.resolve() / f"{file}.jsonl")
                    for part, file in (("forget", "forget10"), ("retain", "retain90"), ("unseen", "retain90"))
                }
                files |= {
                    f"audit.tofu.{part}.file": str(arguments.tofu.resolve() / f"{file}.jsonl")
                    for part, file in (
                        ("forget", "forget10"),
                        ("retain", "retain_perturbed"),
                        ("real_authors", "real_authors"),
                        ("world_facts", "world_facts"),
                    )
                }
                values = {
                    **overrides(name, rates[name]),
                    **files,
                    "name": f"tofu-{name}-seed-{seed}".replace("+", "-"),
                    "seed": seed,
                    "model.name": str((arguments.models / "target").resolve()),
                    "reference": str((arguments.models / "reference").resolve()),
                    "audit.baseline": None if baseline is None else str(baseline.resolve()),
                }
                options = [part for value in settings(values) for part in ("--set", value)]
                command = [
                    sys.executable,
                    "-m",
                    "myosotis",
                    "run",
                    str(JOB),
                    "--out",
                    str(run),
                    *options,
                ]
                command += ["--overwrite"] if run.exists() else []
                subprocess.run(command, check=True)  # noqa: S603 - our own command line
            baseline = baseline or run


FIGURES = {
    "KS D": lambda r: r["suites"]["tofu"]["after"]["ks_statistic"],
    "log10 p": lambda r: r["suites"]["tofu"]["after"]["forget_quality_log10"],
    "utility": lambda r: r["suites"]["tofu"]["after"]["model_utility"],
    "forget ROUGE": lambda r: r["suites"]["tofu"]["after"]["forget_rouge"],
    "forget p": lambda r: r["suites"]["tofu"]["after"]["forget_probability"],
    "truth ratio": lambda r: r["suites"]["tofu"]["after"]["forget_truth_ratio"],
    "ES": lambda r: r["metrics"]["after"]["forget"]["extraction_strength"]["mean"],
    "EL": lambda r: r["metrics"]["after"]["forget"]["extraction_likelihood"]["mean"],
    "MA": lambda r: r["metrics"]["after"]["forget"]["memorization_accuracy"]["mean"],
    "kept MA": lambda r: r["metrics"]["after"]["held_retain"]["memorization_accuracy"]["mean"],
    "MIA AUC": lambda r: r["suites"]["membership"]["after"]["loss"]["auc"],
    "relearnt": lambda r: r["suites"]["stress"]["after"]["relearning"]["accuracy"][-1],
    "perplexity": lambda r: r["metrics"]["after"]["general"]["perplexity"],
    "seconds": lambda r: r["cost"]["seconds"]["initialise"] + r["cost"]["seconds"]["unlearn"],
    "GB": lambda r: r["cost"]["peak_memory_bytes"] / 1e9,
}
PARTS = [
    f"{part}_{measure}"
    for part in ("retain", "real_authors", "world_facts")
    for measure in ("probability", "rouge", "truth_ratio")
]
FLOOR = "real_authors_rouge"
"""The part of the utility that a model of this size has near 0, where it outweighs the others."""

FORGET = "eval_log_forget.json"
QUESTIONS = 20
"""Of each author, one after another in the files."""

BY_AUTHOR = {
    "forget p": lambda log: np.exp(-values_of(log["avg_gt_loss"])),
    "forget ROUGE": lambda log: values_of(log["rougeL_recall"]),
    "log truth ratio": lambda log: (
        values_of(log["avg_paraphrased_loss"]) - values_of(log["average_perturb_loss"]).mean(axis=1)
    ),
}


def without_floor(figures):
    return statistics.harmonic_mean([figures[part] for part in PARTS if part != FLOOR])


def values_of(rows):
    return np.array(list(rows.values()))


def by_author(runs, figure):
    """What the model has more than the reference: mean over authors, its 95 % interval, and p (Student's t).

    An author is one draw and its questions are not, so there are as many differences as authors, each a mean over runs.
    """

    def authors(run, model):
        content = json.loads((run / "checkpoints" / f"tofu-{model}.json").read_text())["content"]
        return figure(content[FORGET]).reshape(-1, QUESTIONS).mean(axis=1)

    more = np.mean([authors(run, "after") - authors(run, "reference") for run in runs], axis=0)
    test = stats.ttest_1samp(more, 0.0)
    low, high = test.confidence_interval(0.95)
    return f"{more.mean():+.3f} [{low:+.3f}, {high:+.3f}], p {test.pvalue:.2g}"


def cell(values):
    mean = statistics.mean(values)
    digits = 3 if abs(mean) < 10 else 1
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def tuning_table(out):
    """Every rate that was tried: what is forgotten, what is retained, the score, and the change of the weights."""
    rows = {}
    for row in read_rows(out / "tuning.jsonl"):
        change = "-" if row["change"] is None else f"{row['change']:.1f}"
        ended = " (diverged)" if row["stop_reason"] == "diverged" else ""
        values = f"{row['forget']:.2f} / {row['held']:.2f} / {row['score']:.3f} / {change}{ended}"
        rows.setdefault(row["method"], {})[row["rate"]] = values
    print(f"| forget / retain / score / change | {' | '.join(f'{rate:g}' for rate in RATES)} |")
    print(f"|{' --- |' * (len(RATES) + 1)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells.get(rate, '-') for rate in RATES)} |")
    print()


def grid_table(out):
    """Forgotten, retained and the norm of the change for each rank and rate, and a drawing of the first two."""
    rows = read_rows(out / "grid.jsonl")
    if not rows:
        return
    cells = {
        (row["method"], row["rank"], row["rate"]): f"{row['forget']:.2f} / {row['held']:.2f} / {row['change']:.1f}"
        + (" (diverged)" if row["stop_reason"] == "diverged" else "")
        for row in rows
    }
    columns = [(name, rate) for name, rates in GRID.items() for rate in rates]
    print(f"| rank | {' | '.join(f'{name}, {rate:g}' for name, rate in columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for rank in RANKS:
        print(f"| {rank} | {' | '.join(cells.get((name, rank, rate), '-') for name, rate in columns)} |")
    print()
    draw_grid([row for row in rows if row["stop_reason"] != "diverged"], out)


def draw_grid(rows, out):
    """Write OUT/grid.svg: what is retained against what is forgotten, the area of a point by the change."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "grid"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    unseen = json.loads((out / "levels.json").read_text())["unseen"]
    for panel, (plain, started) in zip(axes, (("ihl", "loku"), ("gd", "gd+fila")), strict=True):
        for name, marker, colour in ((plain, "o", "#3b6ea5"), (started, "^", "#c2571a")):
            own = [row for row in rows if row["method"] == name]
            label = f"{plain} with FILA" if name == started else plain
            sizes = [6 * row["change"] for row in own]
            x, y = [row["forget"] for row in own], [row["held"] for row in own]
            panel.scatter(x, y, s=sizes, marker=marker, color=colour, alpha=0.6, label=label)
        panel.axvline(unseen, color="grey", linestyle=":", linewidth=1)
        panel.set_xlabel("tokens of the forget set given right")
        panel.legend(frameon=False)
    axes[0].set_ylabel("tokens of held-out authors given right")
    figure.savefig(out / "grid.svg", metadata={"Date": None})


def table(arguments):
    tuning_table(arguments.out)
    grid_table(arguments.out)
    rates = best_rates(arguments.out)
    rows, parts, authors = {}, {}, {}
    for name in arguments.methods:
        paths = [arguments.out / f"{name}-{seed}" / "result.json" for seed in arguments.seeds]
        paths = [path for path in paths if path.is_file()]
        if not paths:
            continue
        results = [json.loads(path.read_text()) for path in paths]
        rows[f"{name} (n = {len(results)}, rate {rates[name]:g})"] = [
            cell([figure(result) for result in results]) for figure in FIGURES.values()
        ]
        after = [result["suites"]["tofu"]["after"] for result in results]
        parts[name] = [cell([found[part] for found in after]) for part in PARTS]
        runs = [path.parent for path in paths]
        authors[name] = [cell([without_floor(found) for found in after])]
        authors[name] += [by_author(runs, figure) for figure in BY_AUTHOR.values()]
        known = results[0]
    for model in ("before", "reference"):
        as_after = {
            key: {**known[key], "after": known[key][model]}
            if key == "metrics"
            else {suite: {**values, "after": values.get(model)} for suite, values in known[key].items() if values}
            for key in ("metrics", "suites")
        }
        found = []
        for label, figure in FIGURES.items():
            missing = label in ("seconds", "GB") or (model == "reference" and label in ("KS D", "log10 p"))
            found.append("-" if missing else cell([figure(as_after)]))
        rows[model] = found
        of_model = known["suites"]["tofu"][model]
        parts[model] = [cell([of_model[part]]) for part in PARTS]
        authors[model] = [cell([without_floor(of_model)]), *["-"] * len(BY_AUTHOR)]
    half = list(FIGURES).index("ES")
    for head, body, chosen in (
        (list(FIGURES)[:half], rows, slice(half)),
        (list(FIGURES)[half:], rows, slice(half, None)),
        (PARTS, parts, slice(None)),
        ([f"utility without {FLOOR}", *BY_AUTHOR], authors, slice(None)),
    ):
        print(f"| | {' | '.join(head)} |\n|{' --- |' * (len(head) + 1)}")
        for label, cells in body.items():
            print(f"| {label} | {' | '.join(cells[chosen])} |")
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "measure", "grid", "table"))
    parser.add_argument("--tofu", type=Path, help="folder of TOFU's JSON lines")
    parser.add_argument("--models", type=Path, help="folder with the models 'target' and 'reference'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=[name for name in METHODS if name != "gd+fila"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "tune":
        sweep(arguments, "tuning.jsonl", [(name, rate, 16, 100) for name in arguments.methods for rate in RATES])
    elif arguments.what == "grid":
        jobs = [(name, GRID[name][place], rank, 100) for place in range(3) for rank in RANKS for name in GRID]
        sweep(arguments, "grid.jsonl", jobs)
    elif arguments.what == "measure":
        measure(arguments)
    else:
        table(arguments)


if __name__ == "__main__":
    main()
