"""How often a verdict on language unlearning answers what it should, on simulated people.

    python benchmarks/verdict_rates.py --draws 400 --out rates.json

People differ by a level that is normal on the scale of log-odds, and so do, by less, questions about one person and
two trainings. There are five questions a person, and twelve tokens an answer, of which four are facts. Audits of such
people go through the same function as those of a job.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from myosotis.data.encoding import Example
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.audit.verdict import judge

SIZES = ((1, 20), (2, 20), (4, 8), (20, 20), (20, 100), (50, 100), (400, 400))
QUESTIONS, TOKENS = 5, 12
FACTS = np.isin(np.arange(TOKENS), (5, 6, 9, 10))
LEVEL, PEOPLE, RECORDS, TRAININGS = -1.4, 0.8, 0.6, 0.4  # mean log-odds, and deviations around it
FORM = 2.6  # log-odds of tokens that belong to the form of an answer
TOP5 = 1.5  # what being among the five likeliest adds
WORDINGS = 5  # of a question; half the variance of what is guessed is the wording's


class People:
    """What can be guessed of some people, whichever model guesses."""

    def __init__(self, stream, count):
        self.stream, shape = stream, (count, QUESTIONS)
        self.odds = LEVEL + stream.normal(0, PEOPLE, (count, 1)) + stream.normal(0, RECORDS, shape)
        self.noise = stream.logistic(0, 1, (*shape, TOKENS))
        self.of_wordings = (self.noise + stream.logistic(0, 1, (WORDINGS, *shape, TOKENS))) / 2**0.5

    def seen_by(self, shift=0.0):
        """Figures of a model that did not learn them; another training has other noise."""
        stream, odds = self.stream, self.odds + shift + self.stream.normal(0, TRAININGS, self.odds.shape)
        z = np.where(FACTS, odds[..., None], FORM)
        right, near = z + self.noise > 0, (z + self.of_wordings + TOP5 > 0).mean(0)
        p = 1 / (1 + np.exp(-odds))
        accuracy = right.mean(-1)
        recalled = right[..., FACTS].reshape(*odds.shape, 2, 2).all(-1).mean(-1)
        return {
            "fact_probability": p,
            "top5_recall": near[..., FACTS].mean(-1),
            "extraction_strength": np.cumprod(right[..., ::-1], -1).sum(-1) / TOKENS,
            "memorization_accuracy": accuracy,
            "extraction_likelihood": np.clip(0.9 * accuracy - 0.45 + stream.normal(0, 0.03, p.shape), 0, 1),
            "greedy_recall": recalled,
            "sampled_recall": stream.binomial(16, p**2) / 16,
            "nll": np.exp(0.2 - 0.35 * odds + stream.normal(0, 0.25, p.shape)),
        }

    def known(self):
        """Figures of a model that was taught them."""
        whole = np.ones_like(self.odds)
        names = ("top5_recall", "extraction_strength", "memorization_accuracy", "greedy_recall")
        figures = dict.fromkeys(names, whole)
        return figures | {
            "fact_probability": 0.97 * whole,
            "sampled_recall": 0.95 * whole,
            "extraction_likelihood": 0.45 * whole,
            "nll": np.abs(self.stream.normal(0.03, 0.01, whole.shape)),
        }


def mixed(unlearned, known, share):
    """Figures that keep a share of what had been learnt."""
    return {name: (1 - share) * values + share * known[name] for name, values in unlearned.items()}


def audit(**splits):
    values = {
        name: {figure: torch.from_numpy(np.ascontiguousarray(rows).reshape(-1)) for figure, rows in figures.items()}
        for name, figures in splits.items()
    }
    return Audit({}, values)


def examples(split, count):
    return [
        Example((1, 2, question), (-100, 2, question), (False, True, True), f"{split} {person}")
        for person in range(count)
        for question in range(QUESTIONS)
    ]


def truths(people, settings):
    """What may be true after unlearning, by name: figures of the forgotten people under the model."""
    known, again = people.known(), people.seen_by()
    one = {name: np.concatenate([known[name][:1], values[1:]]) for name, values in again.items()}
    return {
        "perfect retrain": again,
        "at the margin": mixed(again, known, settings.margin),
        "twice the margin": mixed(again, known, 2 * settings.margin),
        "everything erased": people.seen_by(-4.0),
        "one person wholly remembered": one,
        "nothing unlearnt": known,
        "never known": None,
    }


def rates(forget, unseen, draws, seed, settings, *, paired):
    """Shares of the answers by what is true."""
    stream, sets = np.random.default_rng(seed), AuditSets(examples("f", forget), unseen=examples("u", unseen))
    counts = {}
    for _ in range(draws):
        people, others = People(stream, forget), People(stream, unseen)
        strangers = others.seen_by()
        for name, after in truths(people, settings).items():
            first = after if after is not None else people.seen_by()
            before = audit(forget=first if after is None else people.known(), unseen=strangers)
            reference = audit(forget=people.seen_by(), unseen=others.seen_by()) if paired else None
            found = judge(before, audit(forget=first, unseen=others.seen_by()), sets, settings, reference=reference)
            row = counts.setdefault(name, {"yes": 0, "no": 0, "over": 0, "as unseen": 0, "known": 0})
            row["yes"] += found.forgotten is True
            row["no"] += found.forgotten is False
            row["over"] += bool(found.over_forgotten)
            row["as unseen"] += bool(found.as_unseen)
            row["known"] += bool(found.known)
    return {name: {key: value / draws for key, value in row.items()} for name, row in counts.items()}


COLUMNS = (
    ("perfect retrain: yes / no", lambda found: (found["perfect retrain"]["yes"], found["perfect retrain"]["no"])),
    ("as if never seen", lambda found: (found["perfect retrain"]["as unseen"],)),
    ("at the margin: yes", lambda found: (found["at the margin"]["yes"],)),
    ("twice the margin: yes / no", lambda found: (found["twice the margin"]["yes"], found["twice the margin"]["no"])),
    ("erased: over-forgotten", lambda found: (found["everything erased"]["over"],)),
    ("one person remembered: yes / no", lambda found: tuple(found["one person wholly remembered"][k] for k in YES_NO)),
    ("nothing unlearnt: no", lambda found: (found["nothing unlearnt"]["no"],)),
    ("never known: called known", lambda found: (found["never known"]["known"],)),
)
YES_NO = ("yes", "no")


def table(results):
    yield f"| to forget, unseen | against | {' | '.join(name for name, _ in COLUMNS)} |"
    yield "| --- " * (2 + len(COLUMNS)) + "|"
    for row in results:
        cells = [" / ".join(f"{value:.2f}" for value in figures(row["rates"])) for _, figures in COLUMNS]
        yield f"| {row['forget']}, {row['unseen']} | {row['against']} | {' | '.join(cells)} |"


HELD = (5, 20, 45, 100)
LOSSES = {
    "nothing lost": (0.0, 0.0, 0.0),
    "everybody loses 2 %": (0.02, 0.0, 0.0),
    "everybody loses 5 %": (0.05, 0.0, 0.0),
    "everybody loses 10 %": (0.1, 0.0, 0.0),
    "15 % of people lose half": (0.0, 0.15, 0.5),
    "7 % of people lose everything": (0.0, 0.07, 1.0),
    "2 % of people lose everything": (0.0, 0.02, 1.0),
}
"""What is lost of what was known: by everybody, and by a share of people."""


def kept_rates(held, draws, seed, settings):
    """Shares of the answers whether the rest is kept, by what is true of the people like those held out."""
    stream = np.random.default_rng(seed)
    sets = AuditSets(examples("f", 8), held_retain=examples("h", held), unseen=examples("u", 20))
    found = {}
    for name, (all_lose, share, part) in LOSSES.items():
        answers = []
        for _ in range(draws):
            people, others = People(stream, held), People(stream, 20)
            guess, known, forget = people.seen_by(), people.known(), People(stream, 8)
            hurt = np.where(stream.random((held, 1)) < share, part, all_lose)
            noise = stream.normal(0, 0.01, known["fact_probability"].shape)
            left = {
                figure: np.clip((1 - hurt) * known[figure] + hurt * guess[figure] + noise, 0, 1)
                for figure in known
                if figure != "nll"
            }
            rows = {"held_retain": known | {"answer_recall": known["greedy_recall"]}, "unseen": others.seen_by()}
            rows["unseen"]["answer_recall"] = rows["unseen"]["greedy_recall"]
            before = audit(forget=forget.known(), **rows)
            held_after = left | {"nll": known["nll"], "answer_recall": left["greedy_recall"]}
            after = audit(forget=forget.seen_by(), held_retain=held_after, unseen=others.seen_by())
            answers.append(judge(before, after, sets, settings).kept)
        found[name] = [answers.count(answer) / draws for answer in (True, False)]
    return found


def kept_table(results):
    yield f"| held out | {' | '.join(f'{name}: yes / no' for name in LOSSES)} |"
    yield "| --- " * (1 + len(LOSSES)) + "|"
    for held, found in results.items():
        yield f"| {held} | {' | '.join(f'{yes:.2f} / {no:.2f}' for yes, no in found.values())} |"


def shortfalls(results):
    """The aims that are missed."""
    for row in results:
        found, size = row["rates"], (row["forget"], row["unseen"])
        paired = row["against"] == "a reference"
        aims = {
            "perfect retrain refused": found["perfect retrain"]["no"] <= 0.05,
            "truth at the margin passed": found["at the margin"]["yes"] <= 0.06,
            "never known passed": found["never known"]["yes"] <= 0.06,
        }
        if row["forget"] >= 20:
            aims["erased not told"] = found["everything erased"]["over"] >= 0.9
        if size == (20, 20) and paired:
            aims["perfect retrain seldom passed"] = found["perfect retrain"]["yes"] >= 0.7
        if size == (20, 100) and not paired:
            aims["perfect retrain seldom passed"] = found["perfect retrain"]["yes"] >= 0.55
        yield from (f"{size}, {row['against']}: {name}" for name, met in aims.items() if not met)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings, results = VerdictSettings(), []
    for forget, unseen in SIZES:
        draws = max(20, options.draws * 40 // max(forget + unseen, 40))
        for paired in (False, True):
            found = rates(forget, unseen, draws, options.seed, settings, paired=paired)
            against = "a reference" if paired else "unseen people"
            results.append({"forget": forget, "unseen": unseen, "draws": draws, "against": against, "rates": found})
            print(f"{forget}, {unseen}, {against}: {draws} draws", file=sys.stderr, flush=True)
    kept = {held: kept_rates(held, max(20, options.draws * 20 // held), options.seed, settings) for held in HELD}
    print("\n".join(["", "Is it forgotten?", *table(results), "", "Is the rest kept?", *kept_table(kept), ""]))
    missed = list(shortfalls(results))
    print("\n".join(["", "Aims missed:", *missed] if missed else ["", "Every aim is met."]))
    if options.out is not None:
        options.out.write_text(json.dumps({"forgotten": results, "kept": kept}, indent=1))


if __name__ == "__main__":
    main()
