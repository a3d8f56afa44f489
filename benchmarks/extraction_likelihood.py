"""Extraction likelihood: ours against one ``generate`` call per prefix, as released code makes it.

Both read the same texts with the same model and must give the same values. Where a text is memorised there is nothing
to generate, so the ratio depends on the memorisation accuracy, which is told. Prints a table and writes JSON.

    python benchmarks/extraction_likelihood.py --model smollm2-135m --out benchmark-extraction.json
    python benchmarks/extraction_likelihood.py --model leaderboard/prose-0/target --out benchmark-memorised.json
"""

import argparse
import json
import time
from pathlib import Path

import torch

from myosotis.data.records import read_jsonl
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language import memorization

PROSE = Path(__file__).parents[1] / "examples" / "data" / "prose-forget.jsonl"


def overlap(generated, truth, n):
    """Share of the generated n-grams that stand in the truth."""
    known = {tuple(truth[start : start + n]) for start in range(len(truth) - n + 1)}
    grams = [tuple(generated[start : start + n]) for start in range(len(generated) - n + 1)]
    return sum(gram in known for gram in grams) / len(grams)


@torch.no_grad()
def one_generate_per_prefix(model, sequence, n):
    total = 0.0
    for start in range(1, len(sequence) - n + 1):
        ids = model.generate(
            sequence[:start].unsqueeze(0),
            attention_mask=torch.ones(1, start, dtype=torch.long),
            min_new_tokens=len(sequence) - start,
            max_new_tokens=len(sequence) - start,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        total += overlap(ids[0, start:].tolist(), sequence[start:].tolist(), n)
    return total / (len(sequence) - n)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--texts", type=int, default=2)
    parser.add_argument("--length", type=int, default=48, help="tokens of each text")
    parser.add_argument("--n", type=int, default=3)
    parser.add_argument("--texts-from", type=Path, default=PROSE, help="JSON lines with a text each")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    model, tokenizer = load_causal_lm(arguments.model)
    texts = [record.text for record in read_jsonl(arguments.texts_from)[: arguments.texts]]
    sequences = [torch.tensor(tokenizer(text)["input_ids"][: arguments.length]) for text in texts]

    started = time.perf_counter()
    accuracy, ours = memorization(model, sequences, arguments.n)
    ours_seconds = time.perf_counter() - started
    started = time.perf_counter()
    theirs = torch.tensor([one_generate_per_prefix(model, sequence, arguments.n) for sequence in sequences])
    their_seconds = time.perf_counter() - started

    result = {
        "model": arguments.model,
        "texts": len(sequences),
        "length": arguments.length,
        "n": arguments.n,
        "memorization_accuracy": accuracy.mean().item(),
        "threads": torch.get_num_threads(),
        "ours_seconds": ours_seconds,
        "generate_seconds": their_seconds,
        "ratio": their_seconds / ours_seconds,
        "largest_difference": (ours - theirs).abs().max().item(),
    }
    for key, value in result.items():
        print(f"{key:20} {value:.4g}" if isinstance(value, float) else f"{key:20} {value}")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
