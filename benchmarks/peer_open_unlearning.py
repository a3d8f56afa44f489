"""A step of unlearning here and in open-unlearning, on the same model and batches, alternating.

The peer is a checkout that you give; nothing of it is part of this repository. Its trainers are built as its recipes
build them and asked for the loss of one batch of eight forget and eight retain records; backward, clipping and AdamW
are those of ``transformers.Trainer``'s defaults. Ours are the steps of ``UnlearnTrainer``, timed from the inside. Full
weights, float32; ``--lora`` adds ours with an adapter, which the peer does not have. Every measurement is a process of
its own, and its peak memory is that process's; rounds alternate. Prints a table with ratios and writes JSON.

    python benchmarks/peer_open_unlearning.py --peer CHECKOUT --records FILE.jsonl --out peer.json
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import TrainingArguments

from alone import alone
from myosotis.data.encoding import Encoder, pad_examples, pad_token_id
from myosotis.data.records import parse_record
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import UnlearnConfig, UnlearnTrainer
from step import Clock

TEMPLATE = "Question: {prompt}\nAnswer: {response}"
SIZE = 8
METHODS = {
    "gd": ("grad_diff", "GradDiff", {}),
    "npo": ("npo", "NPO", {"beta": 0.1}),
    "simnpo": ("simnpo", "SimNPO", {"beta": 4.5}),
    "undial": ("undial", "UNDIAL", {"beta": 10.0}),
}
"""By our name: the peer's module, class and settings."""
OURS = {"gd": {}, "npo": {"beta": 0.1}, "simnpo": {"beta": 4.5}, "undial": {"retain": "nll"}}


def halves(file):
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()[: 2 * SIZE]]
    records = [parse_record({"prompt": row["question"], "response": row["answer"]}, file) for row in rows]
    return records[:SIZE], records[SIZE:]


def common(folder, steps):
    return {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": SIZE,
        "learning_rate": 1e-5,
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def ours(method, model_name, file, steps, lora):
    model, tokenizer = load_causal_lm(model_name)
    clock = Clock()
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    with tempfile.TemporaryDirectory() as folder:
        settings = UnlearnConfig(
            **common(folder, steps), template=TEMPLATE, method=method, method_settings=OURS[method], logging_steps=1
        )
        trainer = UnlearnTrainer(model, settings, *halves(file), tokenizer, adapter, callbacks=[clock])
        trainer.train()
    return statistics.median(clock.seconds[2:])


def theirs(method, peer, model_name, file, steps):
    # Only the modules that are measured: the package itself imports all trainers, and what they need.
    package = types.ModuleType("trainer")
    package.__path__ = [str(Path(peer) / "src" / "trainer")]
    sys.modules["trainer"] = package
    module, name, options = METHODS[method]
    trainer_class = getattr(__import__(f"trainer.unlearn.{module}", fromlist=[name]), name)
    model, tokenizer = load_causal_lm(model_name)
    encoder = Encoder(tokenizer, TEMPLATE)
    batches = [pad_examples([encoder(record) for record in half], pad_token_id(tokenizer)) for half in halves(file)]
    inputs = dict(zip(("forget", "retain"), batches, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**common(folder, steps))
        trainer = trainer_class(model=model, args=arguments, train_dataset=[0], **options)
        trainer.create_optimizer()
        model.train()
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            loss = trainer.compute_loss(model, inputs)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
            trainer.optimizer.step()
            model.zero_grad()
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="a checkout of open-unlearning")
    parser.add_argument("--records", required=True, help="JSON lines with question and answer")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    measured = []
    for round_number in range(arguments.rounds):
        for method in arguments.methods:
            shared = (arguments.model, arguments.records, arguments.steps)
            runs = {
                "theirs": (theirs, method, arguments.peer, *shared),
                "ours": (ours, method, *shared, False),
                **({"ours, LoRA": (ours, method, *shared, True)} if arguments.lora else {}),
            }
            for side, (function, *values) in runs.items():
                seconds, peak = alone(function, *values)
                measured.append(
                    {"round": round_number, "method": method, "side": side, "seconds": seconds, "bytes": peak}
                )
                print(measured[-1], flush=True)
    Path(arguments.out).write_text(json.dumps(measured, indent=1))
    print("\n| method | side | seconds a step | over theirs (each round) | peak GB | over theirs |\n|" + " --- |" * 6)
    for method in arguments.methods:
        by_side = {
            side: [row for row in measured if row["method"] == method and row["side"] == side]
            for side in dict.fromkeys(row["side"] for row in measured)
        }
        for side, rows in by_side.items():
            pairs = list(zip(rows, by_side["theirs"], strict=True))
            ratios = [row["seconds"] / other["seconds"] for row, other in pairs]
            spread = " ".join(f"{ratio:.2f}" for ratio in ratios)
            memory = statistics.median(row["bytes"] for row in rows)
            others = statistics.median(row["bytes"] for row in by_side["theirs"])
            print(
                f"| {method} | {side} | {statistics.median(row['seconds'] for row in rows):.3f} | "
                f"{statistics.median(ratios):.2f} ({spread}) | {memory / 1e9:.2f} | {memory / others:.2f} |"
            )


if __name__ == "__main__":
    main()
