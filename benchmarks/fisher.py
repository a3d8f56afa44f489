"""The importance step of FILA against one epoch of unlearning, and against gradients of whole weights kept on the CPU.

``ours_element`` is the paper's elementwise information from per-sample gradients, ``ours_row`` the cheaper one of row
sums, ``whole`` what released code does: backward through every weight, the squares of micro-batch gradients summed in
bfloat16. All read the forget records and as many retain records as one epoch deals; each runs in a process of its
own. Prints a table and writes JSON. With ``--count`` the matrix products of both are counted in place of seconds, which
is what no implementation of the two can do without.

    python benchmarks/fisher.py --model smollm2-135m --out benchmark-fisher.json
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from alone import alone, show
from myosotis.data.encoding import Encoder, pad_examples
from myosotis.data.people import fictitious_people
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import UnlearnConfig, UnlearnTrainer, fisher_information, fisher_row_sums
from myosotis.unlearning.language.adapters.fila import lora_layers
from products import products

TEMPLATE = "Question: {prompt}\nAnswer: {response}"


def prepared(model_name, people):
    model, tokenizer = load_causal_lm(model_name)
    records = [[record for person in part for record in person.records()] for part in halves(people)]
    return model, tokenizer, records


def halves(people):
    drawn = fictitious_people(2 * people, seed=0)
    return drawn[:people], drawn[people:]


def adapter():
    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")


def epoch(model_name, people, size):
    model, tokenizer, (forget, retain) = prepared(model_name, people)
    with tempfile.TemporaryDirectory() as folder:
        settings = UnlearnConfig(
            output_dir=folder,
            template=TEMPLATE,
            num_train_epochs=1,
            per_device_train_batch_size=size,
            learning_rate=1e-5,
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = UnlearnTrainer(model, settings, forget, retain, tokenizer, adapter())
        trainer.vet = lambda: True  # the guard is no part of the epoch that the official code would do
        started = time.perf_counter()
        trainer.train()
    return time.perf_counter() - started


def ours(model_name, people, size, row):
    model, tokenizer, parts = prepared(model_name, people)
    encoder = Encoder(tokenizer, TEMPLATE)
    peft_model = get_peft_model(model, adapter())
    names = [f"base_model.model.{name}.base_layer" for name, _ in lora_layers(peft_model)]
    measure = fisher_row_sums if row else fisher_information
    started = time.perf_counter()
    with peft_model.disable_adapter():
        for records in parts:
            examples = [encoder(record) for record in records]
            batches = [pad_examples(examples[at : at + size], 0) for at in range(0, len(examples), size)]
            measure(peft_model, batches, names)
    return time.perf_counter() - started


def whole(model_name, people, size):
    model, tokenizer, parts = prepared(model_name, people)
    encoder = Encoder(tokenizer, TEMPLATE)
    started = time.perf_counter()
    for records in parts:
        examples = [encoder(record) for record in records]
        sums = {name: torch.zeros_like(p, dtype=torch.bfloat16) for name, p in model.named_parameters()}
        for at in range(0, len(examples), size):
            batch = pad_examples(examples[at : at + size], 0)
            model(**batch).loss.backward()
            for name, parameter in model.named_parameters():
                sums[name] += parameter.grad.square().to(torch.bfloat16)
            model.zero_grad()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--people", type=int, default=4, help="to forget, and as many to retain")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--official-batch-size", type=int, default=2)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model, people = arguments.model, arguments.people
    if arguments.count:
        of_epoch = products(epoch, model, people, arguments.batch_size)
        of_fisher = products(ours, model, people, arguments.batch_size, False)
        show({"epoch of unlearning, products": of_epoch, "ours_element, in epochs": of_fisher / of_epoch})
        return
    runs = {
        "epoch_of_unlearning": (epoch, model, people, arguments.batch_size),
        "ours_element": (ours, model, people, arguments.batch_size, False),
        "ours_row": (ours, model, people, arguments.batch_size, True),
        "whole": (whole, model, people, arguments.official_batch_size),
    }
    result = {"model": model, "records": 10 * people, "threads": torch.get_num_threads()}
    for name, (function, *given) in runs.items():
        result[f"{name}_seconds"], result[f"{name}_peak_bytes"] = alone(function, *given)
    for name in ("ours_element", "ours_row", "whole"):
        result[f"{name}_in_epochs"] = result[f"{name}_seconds"] / result["epoch_of_unlearning_seconds"]
    show(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
