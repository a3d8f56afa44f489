"""A learner with an adapter a subject beside what a reader would ask for instead.

    python benchmarks/subjects.py RUN [RUN ...]

RUN is a finished run of ``examples/learn-people.yaml``. Beside its figures:

- *joint*: one adapter of the same rank and layers on the records of all people, which sees each record as often;
- *served*: what routing and adapters cost a batch of questions; how many questions on people never learnt would go to
  an adapter if names were not looked at;
- *routed*: who answers prompts on two people and conversations on one and then on another;
- *retrieval*: the frozen model with the five records of the person before the question, found by the name.

Facts are those of the answers under teacher forcing; perplexity is that of the 16 texts of the package. Prints JSON for
each run, and a table with mean and deviation over the runs.
"""

import argparse
import json
import math
import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import read_jsonl
from myosotis.engine.seeding import derive_seed
from myosotis.forgetting_learner.adapters.config import AdapterSettings, AdapterTraining
from myosotis.forgetting_learner.adapters.learner import SubjectLearner
from myosotis.forgetting_learner.adapters.low_rank import Adapters
from myosotis.forgetting_learner.adapters.measures import reworded
from myosotis.init.examples import examples_folder
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.audit.answers import answer_metrics, perplexity

PASSES = 20  # how often a record is seen, as by the adapters of the example


def facts(model, examples):
    return answer_metrics(model, examples)["fact_accuracy"].nanmean().item()


def told(long, plain, record, own):
    """The question after the records of its subject, which repeat its facts: those are still the ones to be right."""
    known = "\n".join(f"Question: {each.prompt}\nAnswer: {each.response}" for each in own)
    example, alone = long(replace(record, prompt=f"{known}\nQuestion: {record.prompt}")), plain(record)
    answer = alone.facts[alone.response_start :]
    return replace(example, facts=(False,) * (len(example.facts) - len(answer)) + answer)


def measured(run, rate):
    config = json.loads((run / "result.json").read_text())
    settings = read_config(run)
    people = settings["data"]["people"]
    drawn = fictitious_people(people["learn"] + people["unseen"], derive_seed(settings["seed"], "people"))
    learnt, unseen = drawn[: people["learn"]], drawn[people["learn"] :]
    records = [record for person in learnt for record in person.records()]
    by_subject = {person.name: person.records() for person in learnt}
    model, tokenizer = load_causal_lm(settings["model"]["name"])
    plain = Encoder(tokenizer, settings["data"]["template"])
    long = Encoder(tokenizer, "{prompt}\nAnswer: {response}")
    general = [plain(record) for record in read_jsonl(examples_folder() / "data" / "general.jsonl")]
    sets = {"learnt": records, "reworded": reworded(records)}
    found = {"seed": settings["seed"], "model": {"perplexity": perplexity(model, general)}}
    found["retrieval"] = {
        name: facts(model, [told(long, plain, record, by_subject[record.subject]) for record in rows])
        for name, rows in sets.items()
    }
    found["subjects"] = {name: config["figures"][name]["facts"]["mean"] for name in (*sets, "unseen")}
    found["subjects"]["seconds"] = config["cost"]["seconds"]["learn"]
    sets["unseen"] = [record for person in unseen for record in person.records()]
    found["served"] = served(run, learnt, unseen)
    found["routed"] = routed(run, learnt)
    adapters = Adapters(model, AdapterSettings())
    steps = PASSES * len(records) // 20
    started = time.monotonic()
    order = [records[index] for index in torch.randperm(len(records), generator=torch.Generator().manual_seed(0))]
    joint = adapters.train(
        [plain(record) for record in order], AdapterTraining(steps=steps, learning_rate=rate), 0, "joint", tokenizer
    )
    seconds = time.monotonic() - started
    with adapters.active([joint]):
        found["joint"] = {name: facts(model, [plain(record) for record in rows]) for name, rows in sets.items()}
        found["joint"]["perplexity"] = perplexity(model, general)
    found["joint"]["seconds"] = seconds
    return found


def served(run, learnt, unseen):
    """Seconds to answer 20 questions on 20 people in a batch, 24 tokens each, and who passes the router by score."""
    learner = SubjectLearner.load(run / "model")
    tokenizer, prompts = learner.encoder.tokenizer, [person.records()[0].prompt for person in learnt]
    ids = [learner.prompt_ids(prompt) for prompt in prompts]
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": [list(each) for each in ids]}, return_tensors="pt")
    options = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    best = {"plain": math.inf, "with adapters": math.inf, "routing": math.inf}
    for _ in range(3):
        started = time.monotonic()
        learner.model.generate(**batch, **options)
        best["plain"] = min(best["plain"], time.monotonic() - started)
        started = time.monotonic()
        shards = learner.route_ids(ids)
        best["routing"] = min(best["routing"], time.monotonic() - started)
        started = time.monotonic()
        with learner.active(shards):
            learner.model.generate(**batch, **options)
        best["with adapters"] = min(best["with adapters"], time.monotonic() - started)
    strangers = [learner.prompt_ids(record.prompt) for person in unseen for record in person.records()]
    found = learner.router.best(learner.router.rows(strangers))
    return {**best, "strangers by score": sum(shard is not None for shard in found) / len(found)}


def routed(run, learnt):
    """Who answers 20 prompts on two people, and 20 conversations on one that go on with another question."""
    learner, own = SubjectLearner.load(run / "model"), [person.records() for person in learnt]
    counts = {}
    for index, first in enumerate(own):
        second = own[(index + 7) % len(own)]
        subject = first[0].subject
        before = f"Question: {first[0].prompt}\nAnswer: {first[0].response}\n\nQuestion: "
        last = {
            "about the other": second[1].prompt,
            "about nobody": "Which river flows through Vienna?",
            "without the name": first[1].prompt.replace(subject, "this person"),
        }
        prompts = {
            "two people": f"Where were {subject} and {second[0].subject} born?",
            "two questions": f"{first[0].prompt} {second[0].prompt}",
            **{f"{name}, after a question on the first": before + prompt for name, prompt in last.items()},
            **{f"{name}, alone": prompt for name, prompt in last.items()},
        }
        known = {learner.shard_of(subject): "first", learner.shard_of(second[0].subject): "second", None: "nobody"}
        for (name, _), shard in zip(prompts.items(), learner.route(list(prompts.values())), strict=True):
            counts.setdefault(name, Counter())[known.get(shard, "another")] += 1
    return counts


def read_config(run):
    import yaml

    return yaml.safe_load((run / "config.yaml").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the joint adapter")
    arguments, rows = parser.parse_args(), []
    for run in arguments.runs:
        rows.append(measured(run, arguments.rate))
        print(json.dumps(rows[-1]), flush=True)
    keys = ("learnt", "reworded", "unseen", "perplexity", "seconds")
    print(f"| | {' | '.join(keys)} |\n|{' --- |' * (len(keys) + 1)}")
    for name in ("subjects", "joint", "retrieval", "model"):
        cells = []
        for key in keys:
            values = [row[name][key] for row in rows if key in row[name]]
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}" if values else "-")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
