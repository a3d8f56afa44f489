"""One person against invented names: does the level decide, and how often wrongly?

Of a run of the demo that kept its taught model: each person is looked at alone, by the probability of their facts. Of
those to forget and of some held out the model must be shown to know them, of those who were never taught it must not;
after unlearning those to forget must be within a fifth of what had been learnt, and those held out must not.

    myosotis run examples/erase-people.yaml --set keep_fine_tuned=true --out runs/broken
    python benchmarks/one_person.py runs/broken
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from myosotis.engine.run import Run
from myosotis.evaluation.intervals import student_interval
from myosotis.evaluation.rank_test import paired_rank_test
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import encode_inputs, read_records
from myosotis.unlearning.language.job.names import NamedCopies

MARGIN = 0.2
HELD = 15


def probabilities(model, examples):
    with torch.autocast("cpu", torch.bfloat16):
        return answer_metrics(model, examples, batch_size=32)["fact_probability"].double()


def looked_at(config, inputs, person, models):
    """Level, and by model the probability of the facts, whether they are shown to be known, and to be forgotten."""
    numbers = [index for index, example in enumerate(inputs.sets.examples) if example.subject == person]
    examples = [inputs.sets.examples[index] for index in numbers]
    every = [row for rows in vars(inputs.records).values() for row in rows]
    alone = replace(inputs, records=replace(inputs.records, forget=[row for row in every if row.subject == person]))
    copies = NamedCopies.made(config, alone)
    level = probabilities(models["before"], copies.sets.forget).reshape(-1, copies.names).mean(dim=1)
    learnt = max((probabilities(models["before"], examples) - level).mean().item(), 0.0)
    answers = {}
    for name, model in models.items():
        own = probabilities(model, examples)
        known = paired_rank_test(own, level, range(len(own)), alternative="greater").p_value <= 0.05
        change = student_interval(own - level, range(len(own)), level=0.9)
        gone = change.high <= MARGIN * learnt, change.low > MARGIN * learnt
        answers[name] = (own.mean().item(), known, "yes" if gone[0] else "no" if gone[1] else "undecided")
    return level.mean().item(), answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    run = Run.read(parser.parse_args().run)
    config = LanguageUnlearningConfig.model_validate(run.settings())
    before, tokenizer = load_causal_lm(str(run.path / "checkpoints" / "target"))
    models = {"before": before, "after": load_causal_lm(str(run.path / "model"))[0]}
    inputs = encode_inputs(config, *read_records(config), tokenizer)
    for split, most in (("forget", None), ("held_retain", HELD), ("unseen", None)):
        people = list(dict.fromkeys(row.subject for row in getattr(inputs.records, split)))[:most]
        found = [looked_at(config, inputs, person, models) for person in people]
        levels = [level for level, _ in found]
        print(f"{split}: {len(found)} people, level {sum(levels) / len(levels):.3f}")
        for name in models:
            rows = [answers[name] for _, answers in found]
            mean = sum(row[0] for row in rows) / len(rows)
            counts = dict(Counter(row[2] for row in rows))
            print(f"  {name}: probability {mean:.3f}, known {sum(row[1] for row in rows)}, forgotten {counts}")


if __name__ == "__main__":
    main()
