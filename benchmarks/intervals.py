"""How often intervals hold what they say, and how wide they are.

Draws subjects whose levels come from a Beta distribution, and yes/no answers of each; then counts how often an
interval of nominally 95 % contains the true mean. Prints Markdown tables for the mean (against the cluster bootstrap
and Student's t on subject means), for differences, changes and AUCs, and for what denoising gains; writes JSON.

    python benchmarks/intervals.py --out intervals.json
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, t as student

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d, Context2d
from myosotis.denoising.methods import denoise
from myosotis.denoising.methods.method import NoisyData
from myosotis.evaluation.intervals import change_interval, difference_interval, mean_interval
from myosotis.evaluation.membership import membership_inference

SUBJECTS = (2, 3, 5, 8, 15, 30)
LEVELS = {
    ".02 (1, 49)": (1, 49),
    ".2 (2, 8)": (2, 8),
    ".5 (2.5, 2.5)": (2.5, 2.5),
    ".9 (9, 1)": (9, 1),
    ".98 (49, 1)": (49, 1),
    ".1, nearly all or nothing (.1, .9)": (0.1, 0.9),
    "all .5": (None, 0.5),
    "all .98": (None, 0.98),
}
SIZES = {"1": (1,), "5": (5,), "1 to 9": (1, 3, 9, 2, 5)}
LEAST = 0.93
ADAPTING = ("neural", "adaptive")  # whose estimate is that of networks that learnt from half of the symbols


def levels(stream, a, b, subjects):
    return np.full(subjects, b) if a is None else stream.beta(a, b, subjects)


def mean_of(a, b):
    return b if a is None else a / (a + b)


def answers(stream, of, sizes):
    """Yes or no, as many of each subject as it has records, and whose they are."""
    counts = [sizes[index % len(sizes)] for index in range(len(of))]
    groups = np.repeat(np.arange(len(of)), counts)
    return (stream.random(len(groups)) < of[groups]).astype(float), groups


def bootstrap(values, groups, stream, resamples=500):
    sums, counts = (np.bincount(groups, weights) for weights in (values, np.ones_like(values)))
    drawn = stream.integers(len(sums), size=(resamples, len(sums)))
    return np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))


def student_means(values, groups):
    means = np.bincount(groups, values) / np.bincount(groups)
    half = student.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return means.mean() - half, means.mean() + half


def score(values, groups):
    found = mean_interval(torch.from_numpy(values), groups.tolist())
    return found.low, found.high


class Tally:
    """Coverage and mean width."""

    def __init__(self):
        self.covered, self.width, self.count = 0, 0.0, 0

    def add(self, ends, truth):
        self.covered += ends[0] - 1e-9 <= truth <= ends[1] + 1e-9
        self.width += ends[1] - ends[0]
        self.count += 1

    def told(self):
        return {"coverage": self.covered / self.count, "width": self.width / self.count}


def means(draws, seed):
    found = []
    for name, (a, b) in LEVELS.items():
        for size, sizes in SIZES.items():
            for subjects in SUBJECTS:
                stream = np.random.default_rng(seed)
                tallies = {"bootstrap": Tally(), "student": Tally(), "score": Tally()}
                for _ in range(draws):
                    values, groups = answers(stream, levels(stream, a, b, subjects), sizes)
                    for key, ends in (
                        ("bootstrap", bootstrap(values, groups, stream)),
                        ("student", student_means(values, groups)),
                        ("score", score(values, groups)),
                    ):
                        tallies[key].add(ends, mean_of(a, b))
                row = {"level": name, "records": size, "subjects": subjects}
                found.append(row | {key: tally.told() for key, tally in tallies.items()})
    return found


def differences(draws, seed):
    found = []
    for (first, one), (second, other) in [
        ((".9", (9, 1)), (".2", (2, 8))),
        ((".2", (2, 8)), (".2", (2, 8))),
        ((".98", (49, 1)), (".98", (49, 1))),
        ((".5", (2.5, 2.5)), (".5", (2.5, 2.5))),
    ]:
        for counts in [(2, 8), (4, 8), (5, 20), (15, 15), (30, 30)]:
            stream, tally = np.random.default_rng(seed), Tally()
            for _ in range(draws):
                sides = [
                    answers(stream, levels(stream, *law, count), (5,))
                    for law, count in zip((one, other), counts, strict=True)
                ]
                interval = difference_interval(
                    *(torch.from_numpy(values) for values, _ in sides), *(groups.tolist() for _, groups in sides)
                )
                tally.add((interval.low, interval.high), mean_of(*one) - mean_of(*other))
            found.append({"levels": f"{first} and {second}", "subjects": f"{counts[0]} and {counts[1]}"} | tally.told())
    return found


def changes(draws, seed):
    found = []
    for name, law, kept in [
        (".9", (9, 1), 1.0),
        (".9", (9, 1), 0.9),
        (".98", (49, 1), 0.95),
        (".5", (2.5, 2.5), 0.7),
        (".2", (2, 8), 0.5),
    ]:
        for subjects in SUBJECTS:
            stream, tally = np.random.default_rng(seed), Tally()
            for _ in range(draws):
                of = levels(stream, *law, subjects)
                groups = np.repeat(np.arange(subjects), 5)
                # Eight answers in ten hang on the same luck before and after.
                luck = stream.random(len(groups))
                again = np.where(stream.random(len(groups)) < 0.8, luck, stream.random(len(groups)))
                before, after = (luck < of[groups]).astype(float), (again < kept * of[groups]).astype(float)
                interval = change_interval(torch.from_numpy(after), torch.from_numpy(before), groups.tolist())
                tally.add((interval.low, interval.high), mean_of(*law) * (kept - 1))
            found.append({"level": name, "share kept": kept, "subjects": subjects} | tally.told())
    return found


def aucs(draws, seed):
    found = []
    for shift in (0.0, 0.5, 1.2, 2.5):
        for counts in [(2, 2), (3, 3), (4, 8), (5, 5), (5, 20), (10, 10), (40, 40)]:
            stream, tally, flags = np.random.default_rng(seed), Tally(), 0
            for _ in range(draws):
                sides = [
                    (stream.normal(centre, 1, (count, 1)) + stream.normal(0, 1, (count, 5))).flatten()
                    for centre, count in zip((0, shift), counts, strict=True)
                ]
                groups = [np.repeat(np.arange(count), 5).tolist() for count in counts]
                one = membership_inference(
                    *(torch.from_numpy(side) for side in sides), member_groups=groups[0], other_groups=groups[1]
                )
                flags += one.traceable or one.over_unlearned
                if one.low is not None:
                    tally.add((one.low, one.high), norm.cdf(shift / 2))
            row = {"true AUC": round(float(norm.cdf(shift / 2)), 3), "subjects": f"{counts[0]} and {counts[1]}"}
            found.append(row | {"flagged": flags / draws} | (tally.told() if tally.count else {}))
    return found


def blobs(stream, side):
    return (gaussian_filter(stream.standard_normal((side, side)), 3) > 0).astype(int)


def chain(stream, count, alphabet, change):
    return np.cumsum((stream.random(count) < change) * stream.integers(1, alphabet, count)) % alphabet


def drawn(stream, channel, size, change):
    clean = blobs(stream, size) if change is None else chain(stream, size, channel.outputs, change)
    return clean, channel.corrupt(clean, stream)


def gained(clean, noisy, channel, method, options):
    """The ends of the interval of the gain, and the true gain; None where nothing was changed."""
    result = denoise(noisy, channel, method, **options)
    if (result.symbols == noisy).all():
        return None
    gain, half = result.before - result.after, norm.ppf(0.975) * result.standard_error
    return (gain - half, gain + half), (noisy != clean).mean() - (result.symbols != clean).mean()


def gains(draws, seed):
    """Of files that were changed at all; the true gain is that of this file."""
    lines = [
        (2, 0.1, 0.1, 2),
        (2, 0.1, 0.2, 2),
        (2, 0.05, 0.3, 3),
        (2, 0.02, 0.05, 2),
        (4, 0.1, 0.1, 1),
        (8, 0.05, 0.2, 1),
    ]
    cases = [(f"{q} symbols, change {p}", p, q, d, Context1d(k), n) for n in (500, 3000, 20000) for q, p, d, k in lines]
    cases += [(f"{s}x{s} blobs", None, 2, d, Context2d(k), s) for s in (40, 120) for d, k in ((0.05, 8), (0.2, 12))]
    found = []
    for name, change, alphabet, rate, context, size in cases:
        channel, stream = Channel.symmetric(alphabet, rate), np.random.default_rng(seed)
        other = drawn(stream, channel, size, change)[1]
        model = NoisyData(other, channel).network().adapt(other, channel)  # has learnt from another file
        row = {"source": name, "symbols": size, "rate": rate, "context": context.size}
        for column, method, share, options in (
            ("dude", "dude", 10, {"context": context}),
            ("dude_loo", "dude_loo", 10, {"context": context}),
            ("dude, chosen", "dude", 10, {}),
            ("dude_loo, chosen", "dude_loo", 10, {}),
            ("supervised", "supervised", 20, {"model": model}),
            ("neural", "neural", 20, {}),
            ("adaptive", "adaptive", 20, {"model": model}),
        ):
            tally, above = Tally(), 0
            for _ in range(max(20, draws // share)):
                one = gained(*drawn(stream, channel, size, change), channel, method, options)
                if one is not None:
                    ends, truth = one
                    tally.add(ends, truth)
                    above += bool(truth >= ends[0])
            row[column] = tally.told() | {"above": above / tally.count} if tally.count else None
        found.append(row)
    return found


def cell(tally):
    return f"{tally['coverage']:.2f} / {tally['width']:.2f}"


def gain_cell(column, value):
    if not isinstance(value, dict):
        return "-" if value is None else str(value)
    return f"{cell(value)} / {value['above']:.2f}" if column in ADAPTING else cell(value)


def tables(results):
    if results["means"]:
        yield "Means: coverage / mean width of 95 % intervals"
        columns = (
            "level (Beta)",
            "records each",
            "subjects",
            "cluster bootstrap",
            "Student on subjects",
            "score interval",
        )
        yield f"| {' | '.join(columns)} |"
        yield "| --- | --- | --- | --- | --- | --- |"
    for row in results["means"]:
        cells = " | ".join(cell(row[key]) for key in ("bootstrap", "student", "score"))
        yield f"| {row['level']} | {row['records']} | {row['subjects']} | {cells} |"
    for title, key in (("Differences", "differences"), ("Changes of the same records", "changes"), ("AUC", "aucs")):
        if not results[key]:
            continue
        yield ""
        yield f"{title}: coverage / mean width"
        names = [name for name in results[key][0] if name not in ("coverage", "width")]
        yield f"| {' | '.join(names)} | coverage / width |"
        yield "| --- " * (len(names) + 1) + "|"
        for row in results[key]:
            told = cell(row) if "coverage" in row else "-"
            yield f"| {' | '.join(str(row[name]) for name in names)} | {told} |"
    if results["gains"]:
        yield ""
        yield "Gains of denoising: coverage / mean width; where networks adapt also truths above the lower end"
        yield f"| {' | '.join(results['gains'][0])} |"
        yield "| --- " * len(results["gains"][0]) + "|"
    for row in results["gains"]:
        cells = [gain_cell(name, value) for name, value in row.items()]
        yield f"| {' | '.join(cells)} |"


def shortfalls(results):
    """Cells that cover too little; from 5 subjects on also those much wider than the narrowest that covers."""
    low = [row for row in results["means"] if row["score"]["coverage"] < LEAST]
    low += [row for key in ("differences", "changes", "aucs") for row in results[key] if row.get("coverage", 1) < LEAST]
    for row in results["gains"]:
        told = {name: value for name, value in row.items() if isinstance(value, dict)}
        held = [value["above" if name in ADAPTING else "coverage"] for name, value in told.items()]
        low += [row] if min(held, default=1) < LEAST else []
    wide = []
    for row in results["means"]:
        covering = [row[key]["width"] for key in ("bootstrap", "student") if row[key]["coverage"] >= LEAST]
        if row["subjects"] >= 5 and covering and row["score"]["width"] > 1.2 * min(covering):
            wide.append(row)
    return low, wide


PARTS = {"means": means, "differences": differences, "changes": changes, "aucs": aucs, "gains": gains}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="Gains take half an hour.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: PARTS[name](arguments.draws, arguments.seed) if name in arguments.parts else [] for name in PARTS}
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(tables(results)))
    low, wide = shortfalls(results)
    print(f"\ncells with a coverage below {LEAST}: {len(low)}; wider than 1.2 x the narrowest that covers: {len(wide)}")
    for row in (*low, *wide):
        print(row)


if __name__ == "__main__":
    main()
