"""All methods on one model: what they forget, what they keep, what stress brings back, what they cost.

Teaches SmolLM2-135M fictitious people, or passages of prose, once per seed; then every method unlearns the same forget
set from the same weights with a LoRA adapter. The epoch is chosen on retain records that are neither trained on nor
reported, and what is kept is reported of retain records that were held out of the training as well as in sample.
``--tune`` tries learning rates on a development seed and looks at the selection score alone; the best rate is then
given to ``--seeds``. Rows already in ``--out`` are not computed again. Prints a Markdown table and writes JSON.

    python benchmarks/leaderboard.py --data people --out leaderboard --tune --seeds 100 --rates 1e-3 4e-3
    python benchmarks/leaderboard.py --data people --out leaderboard --seeds 0 1 2 --tuned-on 100
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch
from peft import LoraConfig

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import read_jsonl
from myosotis.engine.seeding import derive_seed, generator
from myosotis.evaluation.intervals import mean_interval
from myosotis.evaluation.membership import membership_inference
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import (
    METHODS,
    Selection,
    UnlearnConfig,
    UnlearnTrainer,
    answer_metrics,
    memorization,
    perplexity,
)
from myosotis.unlearning.language.audit.answers import accuracy_of, mean_accuracy
from myosotis.unlearning.language.audit.membership import membership_scores
from myosotis.unlearning.language.audit.sets import subjects_of
from myosotis.unlearning.language.audit.stress import quantized, relearning_curve, reworded_examples
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune
from myosotis.unlearning.language.methods import build_method

DATA = Path(__file__).parents[1] / "examples" / "data"
PEOPLE = {"forget": 3, "retain": 5, "held": 5, "selection": 2, "unseen": 5}
PROSE = {"forget": 5, "retain": 5, "held": 3, "selection": 2, "unseen": 7}
TEMPLATE = "Question: {prompt}\nAnswer: {response}"
SETTINGS = {
    "rmu": {"block": 7, "coefficient": 20.0},
    "pdu": {"retain_limit": 0.05},
    "gru": {"projection": "conflict"},
    "loku": {},
}
NAMES = {"gru": "gd", "loku": "ihl"}
"""Rows that are a method with another setting: gradient difference with projection, IHL with a FILA start."""

TOP = r".*layers\.2[0-9]\..*(q|k|v|o|gate|up|down)_proj"
STEERED = r".*layers\.[5-7]\..*(q|k|v|o|gate|up|down)_proj"


def records_of(data, seed):
    """The parts, drawn by the seed."""
    if data == "people":
        sizes = PEOPLE
        people = fictitious_people(sum(sizes.values()), derive_seed(seed, "people"))
        units = [person.records() for person in people]
    else:
        sizes = PROSE
        units = [
            [record] for part in ("forget", "retain", "unseen") for record in read_jsonl(DATA / f"prose-{part}.jsonl")
        ]
        order = torch.randperm(len(units), generator=generator(seed, "prose")).tolist()
        units = [units[place] for place in order]
    parts, begin = {}, 0
    for name, size in sizes.items():
        parts[name] = [record for unit in units[begin : begin + size] for record in unit]
        begin += size
    return parts


def taught(place, model_name, tokenizer, examples, seed, epochs):
    if not (place / "config.json").is_file():
        model, _ = load_causal_lm(model_name)
        settings = FineTuneConfig(epochs=epochs, batch_size=20, learning_rate=1e-4, precision="bf16")
        own, checkpoints = derive_seed(seed, "fine-tuning") % 2**32, place.with_name(f".teaching-{place.name}")
        fine_tune(model, tokenizer, examples, settings, seed=own, directory=checkpoints)
        shutil.rmtree(checkpoints, ignore_errors=True)
        staged = place.with_name(f".{place.name}")
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        staged.rename(place)
    return load_causal_lm(str(place))[0]


def interval(values, examples):
    found = mean_interval(accuracy_of(values), subjects_of(examples))
    return {"mean": found.mean, "low": found.low, "high": found.high}


def measured(model, tokenizer, encoder, parts, examples, n):
    sequences = [torch.tensor(example.input_ids) for example in examples["forget"]]
    starts = [max(example.response_start, 1) for example in examples["forget"]]
    accuracy, likelihood = memorization(model, sequences, n, starts=starts)
    values = {name: answer_metrics(model, examples[name]) for name in ("forget", "retain", "held", "unseen")}
    scores = [
        membership_scores(model, tokenizer, examples[part], scores=("loss", "zlib", "min_k", "min_k_plus_plus"))
        for part in ("forget", "unseen")
    ]
    found = {
        "perplexity": perplexity(model, examples["general"]),
        "memorization_accuracy": accuracy.mean().item(),
        "extraction_likelihood": likelihood.mean().item(),
        "values": {part: {name: row.nanmean().item() for name, row in rows.items()} for part, rows in values.items()},
        "accuracy": {part: interval(rows, examples[part]) for part, rows in values.items()},
        "membership": {
            name: vars(
                membership_inference(
                    scores[0][name],
                    scores[1][name],
                    member_groups=subjects_of(examples["forget"]),
                    other_groups=subjects_of(examples["unseen"]),
                )
            )
            for name in scores[0]
        },
    }
    found["reworded"] = {
        name: mean_accuracy(model, rows) for name, rows in reworded_examples(parts["forget"], encoder).items()
    }
    with quantized(model, 4):
        found["four_bits"] = {part: mean_accuracy(model, examples[part]) for part in ("forget", "held")}
    curve = relearning_curve(model, tokenizer, examples["forget"], steps=3, every=3, learning_rate=5e-5)
    found["relearned"] = curve.accuracy[-1]
    return found


def unlearn(name, rate, place, tokenizer, parts, examples, level, seed, arguments):
    method = NAMES.get(name, name)
    settings = UnlearnConfig(
        output_dir=str(arguments.out / "trainer"),
        method=method,
        method_settings=SETTINGS.get(name, {}),
        lora_init="fila" if name == "loku" else "default",
        template=TEMPLATE,
        num_train_epochs=arguments.epochs,
        learning_rate=rate,
        per_device_train_batch_size=15 if arguments.data == "people" else 5,
        lr_scheduler_type="constant",
        use_cpu=not torch.accelerator.is_available(),
        seed=derive_seed(seed, "unlearning") % 2**32,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
    )
    negates = build_method(method, SETTINGS.get(name, {})).negation is not None
    selection = Selection(examples["forget"], examples["selection"], level, every=arguments.select_every)
    model = load_causal_lm(str(place))[0]
    started = time.perf_counter()
    trainer = UnlearnTrainer(
        model,
        settings,
        parts["forget"],
        parts["retain"],
        tokenizer,
        LoraConfig(r=8, lora_alpha=16, target_modules=STEERED if name == "rmu" else TOP, task_type="CAUSAL_LM"),
        selection=None if negates else selection,
    )
    trainer.train()
    seconds = time.perf_counter() - started
    history = trainer.state.log_history
    plain = trainer.model.merge_and_unload().eval()
    training = {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "selected_epoch": trainer.selected_epoch,
        "stop_reason": trainer.stop_reason,
        "largest_gradient": max(entry["grad_norm"] for entry in history if "grad_norm" in entry),
        # Of a method that negates its change, no epoch can be watched: its end is its selection.
        "selection": selection.measure(plain)["selection_score"],
    }
    return plain, training


def row_name(arguments, method, seed, rate):
    return arguments.out / "rows" / f"{arguments.data}-{method}-{seed}-{rate:g}.json"


def best_rate(arguments, method):
    found = [
        json.loads(path.read_text())
        for path in arguments.out.glob(f"rows/{arguments.data}-{method}-{arguments.tuned_on}-*.json")
    ]
    if not found:
        raise SystemExit(f"{method} was not tuned on seed {arguments.tuned_on}")
    return max(found, key=lambda row: row["training"]["selection"])["rate"]


def table(rows):
    """One line per method, the mean over seeds and their range."""
    lines = [
        "| method | rate | forget | distance from unseen | retain, held out | retain, in sample | perplexity | "
        "loss AUC | reworded | 4 bits | relearned |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]

    def cell(values):
        values = [value for value in values if value is not None]
        if not values:
            return "-"
        return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        forget = [row["found"]["accuracy"]["forget"]["mean"] for row in own]
        lines.append(
            f"| {method} | {own[0]['rate']:g} | {cell(forget)} | "
            f"{cell([abs(value - row['level']) for value, row in zip(forget, own, strict=True)])} | "
            f"{cell([row['found']['accuracy']['held']['mean'] for row in own])} | "
            f"{cell([row['found']['accuracy']['retain']['mean'] for row in own])} | "
            f"{cell([row['found']['perplexity'] / row['perplexity'] for row in own])} | "
            f"{cell([row['found']['membership']['loss']['auc'] for row in own])} | "
            f"{cell([max(row['found'].get('reworded', {'': None}).values()) for row in own])} | "
            f"{cell([row['found'].get('four_bits', {}).get('forget') for row in own])} | "
            f"{cell([row['found'].get('relearned') for row in own])} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", choices=("people", "prose"), default="people")
    parser.add_argument(
        "--methods", nargs="+", default=[name for name in METHODS if name != "composite"] + ["loku", "gru"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rates", nargs="+", type=float)
    parser.add_argument("--tuned-on", type=int, help="a seed whose rows say which learning rate each method gets")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--select-every", type=int, default=2)
    parser.add_argument("--teach-epochs", type=int, default=10)
    parser.add_argument("--n", type=int, default=3)
    parser.add_argument("--tune", action="store_true", help="look at the selection score alone")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    (arguments.out / "rows").mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in arguments.seeds:
        parts = records_of(arguments.data, seed)
        _, tokenizer = load_causal_lm(arguments.model)
        encoder = Encoder(tokenizer, TEMPLATE)
        examples = {name: [encoder(record) for record in records] for name, records in parts.items()}
        examples["general"] = [encoder(record) for record in read_jsonl(DATA / "general.jsonl")]
        kept = [*examples["retain"], *examples["held"], *examples["selection"]]
        base = arguments.out / f"{arguments.data}-{seed}"
        levels = {}
        models = {"target": [*examples["forget"], *kept]}
        if not arguments.tune:
            models["reference"] = kept
        for name, shown in models.items():
            path = row_name(arguments, name, seed, 0)
            model = taught(base / name, arguments.model, tokenizer, shown, seed, arguments.teach_epochs)
            if not path.is_file():
                found = measured(model, tokenizer, encoder, parts, examples, arguments.n)
                path.write_text(json.dumps(found))
            levels[name] = json.loads(path.read_text())
        start = {
            "seed": seed,
            "level": levels["target"]["accuracy"]["unseen"]["mean"],
            "perplexity": levels["target"]["perplexity"],
        }
        rows += [{**start, "method": name, "rate": 0, "found": found} for name, found in levels.items()]
        for method in arguments.methods:
            for rate in arguments.rates or [best_rate(arguments, method)]:
                path = row_name(arguments, method, seed, rate)
                if not path.is_file():
                    model, training = unlearn(
                        method, rate, base / "target", tokenizer, parts, examples, start["level"], seed, arguments
                    )
                    row = {**start, "method": method, "rate": rate, "training": training}
                    if not arguments.tune:
                        row["found"] = measured(model, tokenizer, encoder, parts, examples, arguments.n)
                    path.write_text(json.dumps(row))
                    print(
                        f"{arguments.data} seed {seed} {method} {rate:g}: selection {training['selection']:.3f} at "
                        f"epoch {training['selected_epoch']}, {training['stop_reason']}, {training['seconds']:.0f} s",
                        flush=True,
                    )
                rows.append(json.loads(path.read_text()))
    shutil.rmtree(arguments.out / "trainer", ignore_errors=True)
    if not arguments.tune:
        print(table(rows))
    (arguments.out / f"{arguments.data}.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
