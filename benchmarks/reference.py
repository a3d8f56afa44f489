"""NPO with its reference log-probabilities cached against NPO with a deep copy of the model: step time and memory.

Both train all weights on the same batches. Each runs in a process of its own; the peak is that of the process, less
what it had after loading the model. Prints a table and writes JSON.

    python benchmarks/reference.py --model smollm2-135m --out benchmark-reference.json
"""

import argparse
import copy
import json
import resource
import time
from pathlib import Path

import torch

from alone import alone, show
from myosotis.data.encoding import Encoder, pad_examples
from myosotis.data.people import fictitious_people
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import npo_loss, sequence_log_probs

TEMPLATE = "Question: {prompt}\nAnswer: {response}"


def batches_of(tokenizer, steps, size):
    encoder = Encoder(tokenizer, TEMPLATE)
    records = [record for person in fictitious_people(size, seed=0) for record in person.records()]
    examples = [encoder(record) for record in records]
    return [pad_examples(examples[step * size % len(examples) :][:size], 0) for step in range(steps)]


def log_probs(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    return sequence_log_probs(logits[:, :-1], batch["labels"][:, 1:])


def train(model_name, steps, size, deep_copy):
    """Seconds per step, of the reference's preparation, and the memory after loading."""
    model, tokenizer = load_causal_lm(model_name)
    after_loading = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    batches = batches_of(tokenizer, steps + 1, size)
    started = time.perf_counter()
    reference = copy.deepcopy(model).eval() if deep_copy else None
    with torch.no_grad():
        kept = None if deep_copy else [log_probs(model, batch) for batch in batches]
    prepared = time.perf_counter() - started
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    seconds = []
    for step, batch in enumerate(batches):
        started = time.perf_counter()
        with torch.no_grad():
            before = log_probs(reference, batch) if kept is None else kept[step]
        loss = npo_loss(log_probs(model, batch), before)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:])[len(seconds[1:]) // 2], prepared, after_loading, loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = {}
    for name, deep_copy in (("cached", False), ("copied", True)):
        rows[name] = alone(train, arguments.model, arguments.steps, arguments.batch_size, deep_copy)
    (cached, prepared, loaded, loss), peak = rows["cached"]
    (copied, _, _, copied_loss), copied_peak = rows["copied"]
    result = {
        "model": arguments.model,
        "batch_size": arguments.batch_size,
        "steps": arguments.steps,
        "threads": torch.get_num_threads(),
        "cached_seconds_per_step": cached,
        "copied_seconds_per_step": copied,
        "step_time_ratio": copied / cached,
        "cached_preparation_seconds": prepared,
        "peak_bytes_after_loading": loaded,
        "cached_peak_bytes": peak,
        "copied_peak_bytes": copied_peak,
        "last_loss_difference": abs(loss - copied_loss),
    }
    show(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
