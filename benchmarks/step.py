"""Tokens per second of a step of IHL with a retain term against a minimal loop in plain PyTorch.

The minimal loop does what a careful user would write by hand: one padded batch, one forward pass, the loss at labelled
positions, backward, clipping, AdamW. The trainer's steps are timed from the inside, without its set-up. Full weights
and LoRA; ``--long`` takes documents instead of questions. The limit is the time that the matrix products of a step of
the trainer take at the rate of a large product on as many threads. Prints a table and writes JSON.

    python benchmarks/step.py --model smollm2-135m --out benchmark-step.json
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import TrainerCallback

from alone import alone, show
from myosotis.data.encoding import IGNORED, Encoder, pad_examples
from myosotis.data.people import fictitious_people
from myosotis.data.records import read_jsonl
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import UnlearnConfig, UnlearnTrainer
from products import Products, product_rate

TEMPLATE = "Question: {prompt}\nAnswer: {response}"
DATA = Path(__file__).parents[1] / "examples" / "data"


def sets(long, size):
    if long:
        return read_jsonl(DATA / "prose-forget.jsonl")[:size], read_jsonl(DATA / "prose-retain.jsonl")[:size]
    people = fictitious_people(2 * size, seed=0)
    return (
        [record for person in people[:size] for record in person.records()][:size],
        [record for person in people[size:] for record in person.records()][:size],
    )


def adapter():
    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")


class Clock(TrainerCallback):
    """Seconds of all steps but the last, whose products are counted."""

    def __init__(self):
        self.seconds, self.counted = [], Products()

    def on_step_begin(self, args, state, control, **kwargs):
        self.started = time.perf_counter()
        if state.global_step + 1 == args.max_steps:
            self.counted.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == args.max_steps:
            self.counted.__exit__(None, None, None)
        else:
            self.seconds.append(time.perf_counter() - self.started)


def tokens_of(examples):
    return sum(len(example.input_ids) for example in examples)


def median(seconds):
    return sorted(seconds)[len(seconds) // 2]


def trainer(model_name, long, size, steps, lora):
    model, tokenizer = load_causal_lm(model_name)
    forget, retain = sets(long, size)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = UnlearnConfig(
            output_dir=folder,
            template=TEMPLATE,
            max_steps=steps + 3,
            per_device_train_batch_size=size,
            learning_rate=1e-5,
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        )
        unlearner = UnlearnTrainer(
            model, settings, forget, retain, tokenizer, adapter() if lora else None, callbacks=[clock]
        )
        unlearner.train()
    encoder = Encoder(tokenizer, TEMPLATE)
    tokens = tokens_of([encoder(record) for record in [*forget, *retain]])
    return median(clock.seconds[2:]), tokens, clock.counted.total / product_rate()


def minimal(model_name, long, size, steps, lora):
    model, tokenizer = load_causal_lm(model_name)
    encoder = Encoder(tokenizer, TEMPLATE)
    examples = [encoder(record) for part in sets(long, size) for record in part]
    if lora:
        model = get_peft_model(model, adapter())
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0)
    seconds = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        batch = pad_examples(examples, 0)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        labels = batch["labels"][:, 1:]
        labelled = labels != IGNORED
        is_forget = (torch.arange(len(labels)) < size).unsqueeze(1) & labelled
        z, y = logits[:, :-1][is_forget], labels[is_forget]
        p = z.softmax(dim=-1)
        at = p.gather(-1, y[:, None]).squeeze(-1)
        other = p.scatter(-1, y[:, None], -1.0).max(dim=-1).values
        kept = labelled & ~is_forget
        loss = (1 + at - other).mean() + functional.cross_entropy(logits[:, :-1][kept], labels[kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return median(seconds[2:]), tokens_of(examples), None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--long", action="store_true", help="documents instead of questions")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    size = arguments.batch_size
    result = {
        "model": arguments.model,
        "data": "documents" if arguments.long else "questions",
        "rows": 2 * size,
        "threads": torch.get_num_threads(),
    }
    for kind, lora in (("full", False), ("lora", True)):
        for name, function in (("trainer", trainer), ("minimal", minimal)):
            found, peak = alone(function, arguments.model, arguments.long, size, arguments.steps, lora)
            seconds, tokens, limit = found
            result[f"{kind}_{name}_tokens_per_second"] = tokens / seconds
            result[f"{kind}_{name}_peak_bytes"] = peak
            if limit is not None:
                result[f"{kind}_limit_over_{name}"] = limit / seconds
        result[f"{kind}_ratio"] = (
            result[f"{kind}_trainer_tokens_per_second"] / result[f"{kind}_minimal_tokens_per_second"]
        )
    show(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
