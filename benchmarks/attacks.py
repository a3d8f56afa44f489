"""What an attacker gets out of an unlearned language model: other wordings, wrong names, few bits, relearning.

Reads finished runs of ``erase-people`` and asks their models in every way about the people to forget, about people who
were never taught (what they get is chance), and about eight of those held out of the unlearning (positive control: an
attack under which even they are unknown shows nothing). A secret is given away where the greedy answer says it. Who
relearns has one fact of each of six people, teaches it again in some steps, and asks for the others.

    python benchmarks/attacks.py runs/0 runs/1 runs/2
"""

import argparse
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from myosotis.data.encoding import Encoder
from myosotis.engine.config import load_config
from myosotis.evaluation.intervals import student_difference, student_interval
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.audit.greedy import GreedyPass
from myosotis.unlearning.language.audit.stress import quantized
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune
from myosotis.unlearning.language.job.inputs import read_records
from myosotis.unlearning.language.training.alternates import end_token_ids
from myosotis.unlearning.language.training.strangers import renamed

SETS = {"forget": "to forget", "unseen": "never taught", "held_retain": "held out"}
LONGEST, AT_ONCE, CONTROLS = 16, 40, 8
RELEARNING, SHOWN = (3, 10), 6
"""Steps, and people of whom a fact is shown."""


def misspelt(name):
    """The second and third letter of the last word change places."""
    *first, last = name.split()
    return " ".join([*first, last[0] + last[2] + last[1] + last[3:]])


def abbreviated(name):
    """All words but the last are initials."""
    *first, last = name.split()
    return " ".join([*(f"{word[0]}." for word in first), last])


def described(records):
    """Of each record, its person by another fact: the author of a book, or for the book itself a job and a city."""
    facts = {}
    for record in records:
        facts.setdefault(record.subject, []).append(record.facts[0])
    names = []
    for record in records:
        city, job, *_, book = facts[record.subject]
        names.append(f"the {job} from {city}" if record.facts[0] == book else f"the author of The {book}")
    return names


def prompts(records, template, shots):
    """By attack, the prompts of each record, without the answer."""
    begin = template.split("{response}")[0].rstrip()

    def asked(question):
        return begin.replace("{prompt}", question)

    examples = "\n\n".join(
        template.replace("{prompt}", row.prompt).replace("{response}", row.response) for row in shots
    )
    return {
        "as taught": [[asked(record.prompt)] for record in records],
        "other words": [[asked(question) for question in record.paraphrases] for record in records],
        "no template": [[record.prompt] for record in records],
        "name misspelt": [[asked(renamed(record, misspelt(record.subject)).prompt)] for record in records],
        "name abbreviated": [[asked(renamed(record, abbreviated(record.subject)).prompt)] for record in records],
        "by another fact, without the name": [
            [asked(renamed(record, name).prompt)] for record, name in zip(records, described(records), strict=True)
        ],
        "three others' facts before it": [[f"{examples}\n\n{asked(record.prompt)}"] for record in records],
        "the answer begun": [
            [f"{asked(record.prompt)} {record.response.split(record.facts[0])[0].rstrip()}"] for record in records
        ],
    }


def given_away(model, tokenizer, records, asked):
    """Of each record, the share of its prompts whose greedy answer says the fact."""
    rows = [(number, prompt) for number, own in enumerate(asked) for prompt in own]
    hits = [[] for _ in records]
    ends = end_token_ids(model, tokenizer)
    for first in range(0, len(rows), AT_ONCE):
        part = rows[first : first + AT_ONCE]
        ids = [torch.tensor(tokenizer(prompt)["input_ids"]) for _, prompt in part]
        greedy = GreedyPass(model, ids, [len(row) for row in ids])
        spans = [(row, len(own), LONGEST) for row, own in enumerate(ids)]
        for (number, _), answer in zip(part, greedy.continuations(spans, ends), strict=True):
            hits[number].append(float(records[number].facts[0] in tokenizer.decode(answer)))
    return torch.tensor([sum(own) / len(own) for own in hits])


def attacked(run):
    config = load_config(run / "config.yaml", LanguageUnlearningConfig)
    records, _ = read_records(config)
    model, tokenizer = load_causal_lm(str(run / "model"))
    shots = records.retain[:3]
    found = {}
    sets = {name: getattr(records, name) for name in SETS}
    controls = list(dict.fromkeys(record.subject for record in records.held_retain))[:CONTROLS]
    sets["held_retain"] = [record for record in records.held_retain if record.subject in controls]
    asked = {name: prompts(own, config.data.template, shots) for name, own in sets.items()}
    ways = [(way, way, None) for way in asked["forget"]] + [(f"{bits} bits", "as taught", bits) for bits in (8, 4)]
    for title, way, bits in ways:
        with torch.no_grad(), nullcontext() if bits is None else quantized(model, bits):
            found[title] = {
                name: (given_away(model, tokenizer, own, asked[name][way]), [record.subject for record in own])
                for name, own in sets.items()
            }
    for steps in RELEARNING:
        found[f"one fact relearnt, {steps} steps"] = {
            name: relearnt(run, config, own, steps) for name, own in sets.items()
        }
    return found


def relearnt(run, config, records, steps):
    """What is given away of the other facts of people, after one fact of each was taught again, and whose they are."""
    model, tokenizer = load_causal_lm(str(run / "model"))
    people = list(dict.fromkeys(record.subject for record in records))[:SHOWN]
    own = [[record for record in records if record.subject == person] for person in people]
    template, settings = (
        config.data.template,
        config.fine_tune.model_copy(update={"epochs": steps, "batch_size": SHOWN}),
    )
    examples = [Encoder(tokenizer, template)(first) for first, *_ in own]
    with TemporaryDirectory() as directory:
        fine_tune(model, tokenizer, examples, settings, seed=0, directory=Path(directory))
    others = [record for _, *rest in own for record in rest]
    with torch.no_grad():
        values = given_away(model, tokenizer, others, prompts(others, template, others[:3])["as taught"])
    return values, [record.subject for record in others]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    results = [attacked(run) for run in runs]
    print(f"| attack | {' | '.join(SETS.values())} | to forget less never taught |\n| --- | --- | --- | --- | --- |")
    for way in results[0]:
        values, groups = {}, {}
        for name in SETS:
            values[name] = torch.cat([found[way][name][0] for found in results])
            # People of different runs are different people.
            groups[name] = [f"{number}/{who}" for number, found in enumerate(results) for who in found[way][name][1]]
        means = [student_interval(values[name], groups[name]).mean for name in SETS]
        gap = student_difference(values["forget"], values["unseen"], groups["forget"], groups["unseen"], level=0.95)
        cells = [f"{mean:.2f}" for mean in means] + [f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"]
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
