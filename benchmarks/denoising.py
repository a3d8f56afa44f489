"""Denoising of bilevel images and of DNA: errors by raw errors, for every method, noise and seed.

    python benchmarks/denoising.py photos --out photos.json       # pip install scikit-image
    python benchmarks/denoising.py fashion --out fashion.json     # Debian: dataset-fashion-mnist
    python benchmarks/denoising.py dna --out dna.json             # Debian: microbiomeutil-data
    python benchmarks/denoising.py shotgun --out shotgun.json     # Debian: bowtie2-examples, lighter

Photos: pre-trained on the middle 160x160 of four, tested on the middle 256x256 of another, contexts of the 48 nearest
pixels. Fashion-MNIST: 300 training images, tested on a mosaic of 100 test images, contexts of 24. DNA: amplicons of 170
bases cut from 16S genes behind a conserved sequence; 500 genes to train, 50 noisy copies of each of ten others to test.
Shotgun reads are cut from the first 10,000 bases of phage lambda, 30 times over.
"""

import argparse
import gzip
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from myosotis.data.image_archives import read_idx
from myosotis.denoising.baselines import median
from myosotis.denoising.channel import Channel
from myosotis.denoising.channel_estimation import estimate_channel
from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context1d, Context2d
from myosotis.denoising.counting import dude
from myosotis.denoising.methods.dude import LINE_CANDIDATES, PLANE_CANDIDATES
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes
from myosotis.denoising.training_noise import blind
from myosotis.evaluation.intervals import t_interval

RATES = (0.05, 0.1, 0.2)
MISMATCHED = {0.05: 0.1, 0.1: 0.2, 0.2: 0.1}
NANOPORE = Channel(
    [
        # From true A, C, G, T; published in the order A, T, G, C.
        [0.8122, 0.0950, 0.0894, 0.0034],
        [0.0704, 0.7717, 0.0889, 0.0690],
        [0.1066, 0.0724, 0.7774, 0.0436],
        [0.0096, 0.0859, 0.0808, 0.8237],
    ]
)
FASHION = Path("/usr/share/datasets/fashion-mnist")
GENES = Path("/usr/share/microbiomeutil-data/RESOURCES/rRNA16S.gold.fasta")
LAMBDA = Path("/usr/share/doc/bowtie2/examples/reference/lambda_virus.fa.gz")
PRIMER = re.compile("CCTACGGG[ACGT]GGC")


def photos():
    from skimage import data

    def bits(picture, side):
        grey = np.asarray(picture[..., :3].mean(axis=-1) if picture.ndim == 3 else picture)
        top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
        return (grey[top : top + side, left : left + side] > 127).astype(np.uint8)

    train = [bits(picture(), 160) for picture in (data.astronaut, data.coffee, data.rocket, data.chelsea)]
    return train, bits(data.camera(), 256), 48


def fashion():
    train, test = (read_idx(FASHION, split).images[:, 0].numpy() for split in ("train", "test"))
    mosaic = test[:100].reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
    return [(one > 127).astype(np.uint8) for one in train[:300]], (mosaic > 127).astype(np.uint8), 24


def _trained(new, train):
    found = {}
    for name in (*RATES, "blind"):
        started = time.perf_counter()
        found[name] = new().pretrain(train, blind(0.05, 0.25) if name == "blind" else Channel.binary_symmetric(name))
        print(f"trained for {name}: {time.perf_counter() - started:.1f} s", flush=True)
    return found


def planes(train, test, neighbours, seed, only_counting):
    """Rows of one seed: every method at every rate."""
    context, rows = Context2d(neighbours), []

    def new():
        return NeuralDenoiser(2, context, seed=seed)

    trained = {} if only_counting else _trained(new, train)
    for rate in RATES:
        law = Channel.binary_symmetric(rate)
        noisy = law.corrupt(test, np.random.default_rng(seed * 100 + round(rate * 100)))
        raw = (noisy != test).mean()

        def row(method, found, started, rate=rate, raw=raw, **more):
            took = time.perf_counter() - started
            error = float((found != test).mean() / raw)
            rows.append({"rate": rate, "method": method, "error": error, "raw": float(raw), "seconds": took, **more})
            print(f"seed {seed} rate {rate:g} {method:32s} {error:.3f} {took:6.1f} s", flush=True)

        row("noisy input", noisy, time.perf_counter())
        for size in (3, 5):
            row(f"median {size}x{size}", median(noisy, size), time.perf_counter())
        for name, out in (("DUDE", False), ("DUDE, symbols left out", True)):
            started = time.perf_counter()
            best, _ = select_context(noisy, law, PLANE_CANDIDATES, leave_one_out=out)
            found = dude(noisy, law, neighbours=best.neighbours, leave_one_out=out).symbols
            row(name, found, started, context=best.neighbours)
        if only_counting:
            continue
        started = time.perf_counter()
        row("Neural DUDE", new().adapt(noisy, law).denoise(noisy, law), started)
        for kind, model in (("matched", rate), ("mismatched", MISMATCHED[rate]), ("blind", "blind")):
            started = time.perf_counter()
            row(f"supervised, {kind}", trained[model].denoise(noisy, law), started)
            started = time.perf_counter()
            row(f"supervised + adapted, {kind}", trained[model].adapt(noisy, law).denoise(noisy, law), started)
        started = time.perf_counter()
        found = estimate_channel(trained["blind"], noisy, Channel.binary_symmetric(0.15), symmetric=True)
        done = found.denoiser.adapt(noisy, found.channel).denoise(noisy, found.channel)
        row("blind, channel estimated", done, started, estimate=float(found.channel.matrix[0, 1]))
    return rows


def genes():
    sequences, current = [], []
    for line in GENES.read_text().splitlines():
        if line.startswith(">"):
            sequences.append("".join(current).upper())
            current = []
        else:
            current.append(line.strip())
    sequences.append("".join(current).upper())
    cut = []
    for sequence in sequences:
        found = PRIMER.search(sequence)
        if found and len(part := sequence[found.start() : found.start() + 170]) == 170 and set(part) <= set("ACGT"):
            cut.append(part)
    return [np.array(["ACGT".index(base) for base in part], dtype=np.uint8) for part in dict.fromkeys(cut)]


def amplicons(every, seed, only_counting):
    rows, order = [], np.random.default_rng(seed).permutation(len(every))
    test = np.concatenate([np.tile(every[place], 50) for place in order[:10]])
    train = [every[place] for place in order[10:510]]
    lengths, slow = [170] * 500, Passes(epochs=10, learning_rate=1e-3)
    for name, law in (("symmetric 0.1", Channel.symmetric(4, 0.1)), ("nanopore", NANOPORE)):
        noisy = law.corrupt(test, np.random.default_rng(seed + 1000))
        raw = (noisy != test).mean()

        def row(method, found, started, name=name, raw=raw, **more):
            took = time.perf_counter() - started
            error = float((found != test).mean() / raw)
            rows.append({"rate": name, "method": method, "error": error, "raw": float(raw), "seconds": took, **more})
            print(f"seed {seed} {name:14s} {method:46s} {error:.3f} {took:6.1f} s", flush=True)

        row("noisy input", noisy, time.perf_counter())
        for method, out in (("DUDE", False), ("DUDE, symbols left out", True)):
            started = time.perf_counter()
            best, _ = select_context(noisy, law, LINE_CANDIDATES, leave_one_out=out, lengths=lengths)
            found = dude(noisy, law, k=best.half_width, leave_one_out=out, lengths=lengths).symbols
            row(method, found, started, context=best.half_width)
        if only_counting:
            continue
        for head in ("factorised", "posterior"):

            def new(head=head):
                return NeuralDenoiser(4, Context1d(10), head=head, seed=seed)

            started = time.perf_counter()
            row(
                f"Neural DUDE, {head}",
                new().adapt(noisy, law, lengths=lengths).denoise(noisy, law, lengths=lengths),
                started,
            )
            noises = {"matched": law, "mismatched": Channel.symmetric(4, 0.02), "blind": blind(0.02, 0.25, symbols=4)}
            for kind, noise in noises.items():
                model = new().pretrain(train, noise)
                started = time.perf_counter()
                row(f"supervised, {kind}, {head}", model.denoise(noisy, law, lengths=lengths), started)
                started = time.perf_counter()
                found = model.adapt(noisy, law, passes=slow, lengths=lengths).denoise(noisy, law, lengths=lengths)
                row(f"supervised + adapted, {kind}, {head}", found, started)
    return rows


def shotgun(seed):
    """Reads at thirty-fold coverage, counted or corrected by k-mers."""
    text = gzip.decompress(LAMBDA.read_bytes()).decode().splitlines()
    genome = np.array(["ACGT".index(base) for base in "".join(text[1:]).upper()[:10_000]], dtype=np.uint8)
    draws, rows = np.random.default_rng(seed), []
    starts = draws.integers(0, len(genome) - 100, 3000)
    clean = genome[starts[:, None] + np.arange(100)]
    for rate in (0.01, 0.02, 0.05):
        law = Channel.symmetric(4, rate)
        noisy = law.corrupt(clean, draws)
        raw = (noisy != clean).mean()
        for method in ("DUDE", "DUDE, symbols left out", "Lighter"):
            started = time.perf_counter()
            if method == "Lighter":
                if shutil.which("lighter") is None:
                    print("lighter is not installed")
                    continue
                found = lighter(noisy)
            else:
                out = method != "DUDE"
                found = dude(noisy.ravel(), law, k=7, leave_one_out=out, lengths=[100] * 3000).symbols.reshape(
                    noisy.shape
                )
            took, error = time.perf_counter() - started, float((found != clean).mean() / raw)
            rows.append({"rate": rate, "method": method, "error": error, "raw": float(raw), "seconds": took})
            print(f"seed {seed} rate {rate:g} {method:24s} {error:.4f} {took:6.2f} s", flush=True)
    return rows


def lighter(noisy):
    letters = np.array(list("ACGT"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "reads.fq"
        source.write_text(
            "".join(f"@{n}\n{''.join(letters[row])}\n+\n{'I' * len(row)}\n" for n, row in enumerate(noisy))
        )
        command = ["lighter", "-r", str(source), "-K", "15", "10000", "-maxcor", "4", "-od", folder, "-t", "1"]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - a fixed command
        lines = (Path(folder) / "reads.cor.fq").read_text().splitlines()
    found = [["ACGT".index(base) for base in line] for line in lines[1::4]]
    return np.array(found, dtype=np.uint8)


def cell(values, sign=""):
    """Mean and half-width of a 95 % t interval; the mean alone where values agree."""
    found = t_interval(values)
    if found.low is None or min(values) == max(values):
        return f"{found.mean:{sign}.3f}"
    return f"{found.mean:{sign}.3f} ± {found.high - found.mean:.3f}"


def differences(what):
    """Pairs of methods that the claims compare."""
    heads = [f", {head}" for head in ("factorised", "posterior")] if what == "dna" else [""]
    for head in heads:
        yield f"supervised + adapted, matched{head}", f"Neural DUDE{head}"
        yield f"supervised + adapted, mismatched{head}", f"supervised, mismatched{head}"
        yield f"supervised + adapted, mismatched{head}", f"supervised + adapted, matched{head}"
        yield f"supervised + adapted, blind{head}", f"supervised + adapted, matched{head}"
        yield f"supervised + adapted, matched{head}", "DUDE"
        yield f"supervised + adapted, blind{head}", "DUDE"
        yield f"supervised + adapted, matched{head}", f"supervised, matched{head}"
        yield f"Neural DUDE{head}", "DUDE"
    if what == "dna":
        yield "Neural DUDE, posterior", "Neural DUDE, factorised"


def show(what, rows):
    """Print the tables of ``docs/measured/denoising.md``."""
    kinds = list(dict.fromkeys(row["rate"] for row in rows))
    error = {(row["method"], row["rate"], row["seed"]): row["error"] for row in rows}
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))

    def table(title, *more):
        header = (title, *map(str, kinds), *more)
        print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")

    table("", "seconds")
    for method in methods:
        cells = [cell([error[method, kind, seed] for seed in seeds]) for kind in kinds]
        seconds = statistics.mean(row["seconds"] for row in rows if row["method"] == method)
        print(f"| {method} | {' | '.join(cells)} | {seconds:.1f} |")
    pairs = [pair for pair in differences(what) if set(pair) <= set(methods)]
    if pairs:
        print()
        table("difference")
    for one, other in pairs:
        cells = []
        for kind in kinds:
            less = [error[one, kind, seed] - error[other, kind, seed] for seed in seeds]
            cells.append(f"{cell(less, '+')} ({sum(value < 0 for value in less)} of {len(less)})")
        print(f"| {one} less {other} | {' | '.join(cells)} |")
    print()
    for kind in kinds:
        at = [row for row in rows if row["rate"] == kind]
        raw, estimates = ([row[key] for row in at if key in row] for key in ("raw", "estimate"))
        print(f"{kind}: raw error {min(raw):.4f} to {max(raw):.4f}")
        if estimates:
            print(f"{kind}: rate found {min(estimates):.3f} to {max(estimates):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("photos", "fashion", "dna", "shotgun"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only-counting", action="store_true", help="Leave networks out.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Write what was measured to this file.")
    parser.add_argument("--show", type=Path, help="Measure nothing; print the tables of a file that --out wrote.")
    arguments = parser.parse_args()
    if arguments.show:
        show(arguments.what, json.loads(arguments.show.read_text()))
        return
    torch.set_num_threads(arguments.threads)
    started, rows = time.perf_counter(), []
    every = genes() if arguments.what == "dna" else None
    for seed in arguments.seeds:
        if arguments.what == "dna":
            rows += [{"seed": seed, **row} for row in amplicons(every, seed, arguments.only_counting)]
        elif arguments.what == "shotgun":
            rows += [{"seed": seed, **row} for row in shotgun(seed)]
        else:
            train, test, neighbours = photos() if arguments.what == "photos" else fashion()
            rows += [{"seed": seed, **row} for row in planes(train, test, neighbours, seed, arguments.only_counting)]
        if arguments.out:
            arguments.out.write_text(json.dumps(rows, indent=1))
    print(f"{time.perf_counter() - started:.0f} seconds; mean of error by raw error, 95 % t interval, better seeds\n")
    show(arguments.what, rows)


if __name__ == "__main__":
    main()
