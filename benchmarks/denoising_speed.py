"""Time DUDE and neural denoising: symbols a second, growth, and peak memory.

    python benchmarks/denoising_speed.py dude --symbols 1e7 1e8
    python benchmarks/denoising_speed.py plane --symbols 8.7e6 3.5e7
    python benchmarks/denoising_speed.py neural --symbols 1e6
    python benchmarks/denoising_speed.py neural --symbols 1e8 --hidden 16 --only denoise

DUDE runs over four symbols with five on each side, beside one pass of np.bincount over the same keys, the best of three
of both, and a plain-Python version of the rule. On a plane it runs over bits with twelve neighbours, and with a context
that is chosen from eight, as by the command. Each measurement has a process of its own; memory is its largest resident
size beyond that before the work began.
"""

import argparse
import json
import math
import resource
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.count_tables import line_keys
from myosotis.denoising.counting import dude
from myosotis.denoising.methods import denoise
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes

K, Q = 5, 4
REPEATS = 3
LAW, BITS = Channel.symmetric(Q, 0.1), Channel.binary_symmetric(0.1)


def source(count, seed=0):
    """A noisy Markov chain."""
    draws = np.random.default_rng(seed)
    noisy = np.empty(count, dtype=np.uint8)
    state = 0
    for begin in range(0, count, 1 << 22):
        size = min(1 << 22, count - begin)
        steps = draws.integers(1, Q, size, dtype=np.uint8) * (draws.random(size) < 0.1)
        clean = ((state + np.cumsum(steps, dtype=np.int64)) % Q).astype(np.uint8)
        state = int(clean[-1])
        noisy[begin : begin + size] = LAW.corrupt(clean, draws)
    return noisy


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def plainly(noisy):
    """DUDE with a dictionary of counts and the rule written out."""
    inverse, channel = LAW.inverse.tolist(), LAW.matrix.tolist()
    symbols, counts = noisy.tolist(), {}
    for i in range(K, len(symbols) - K):
        key = (tuple(symbols[i - K : i]), tuple(symbols[i + 1 : i + K + 1]))
        counts.setdefault(key, Counter())[symbols[i]] += 1
    found = symbols[:]
    for i in range(K, len(symbols) - K):
        m = counts[tuple(symbols[i - K : i]), tuple(symbols[i + 1 : i + K + 1])]
        z = symbols[i]
        scores = []
        for h in range(Q):
            score = 0.0
            for x in range(Q):
                if x != h:
                    score += channel[x][z] * sum(count * inverse[a][x] for a, count in m.items())
            scores.append(score)
        best = min(scores) + 1e-9 * (1 + sum(m.values()))
        found[i] = z if scores[z] <= best else next(h for h in range(Q) if scores[h] <= best)
    return np.array(found, dtype=np.uint8)


def alone(measure, *arguments):
    """In a process of its own, so that the largest memory is that of this measurement."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def measure_dude(size):
    noisy, before = source(size), peak()
    took = min(timed(dude, noisy, LAW, k=K) for _ in range(REPEATS))
    more, keys = peak() - before, np.empty(size - 2 * K, dtype=np.int64)
    for begin, some in line_keys(noisy, K, Q):
        keys[begin : begin + len(some)] = some
    counting = min(timed(np.bincount, keys, minlength=Q ** (2 * K + 1)) for _ in range(REPEATS))
    return {"symbols": size, "seconds": took, "bincount": counting, "memory": more, "input": noisy.nbytes}


def timed(work, *arguments, **options):
    started = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - started


def measure_plane(size):
    side = math.isqrt(size)
    rows, columns = np.sin(np.arange(side) / 9), np.cos(np.arange(side) / 7)
    noisy = BITS.corrupt((np.add.outer(rows, columns) > 0.2).astype(np.uint8), np.random.default_rng(0))
    before = peak()
    took = min(timed(dude, noisy, BITS, neighbours=12) for _ in range(REPEATS))
    chosen = timed(denoise, noisy, BITS, "dude")
    return {"symbols": noisy.size, "seconds": took, "chosen": chosen, "memory": peak() - before}


def measure_plain(size):
    noisy = source(size)
    started = time.perf_counter()
    found = plainly(noisy)
    took = time.perf_counter() - started
    assert (found == dude(noisy, LAW, k=K).symbols).all()
    return size / took


def measure_neural(size, hidden, threads, *, adapt):
    torch.set_num_threads(threads)
    noisy = source(size)
    denoiser, before = NeuralDenoiser(Q, Context1d(10), hidden=hidden, layers=3), peak()
    started = time.perf_counter()
    if adapt:
        denoiser.adapt(noisy, LAW, passes=Passes(epochs=1))
    else:
        denoiser.denoise(noisy, LAW)
    took = time.perf_counter() - started
    return {"what": "adapt" if adapt else "denoise", "symbols": size, "seconds": took, "memory": peak() - before}


def time_dude(sizes):
    plain = alone(measure_plain, 200_000)
    print(f"plain Python: {plain:,.0f} symbols/s, the same result")
    rows = []
    for size in sizes:
        row = alone(measure_dude, size)
        rows.append(row)
        took, counting = row["seconds"], row["bincount"]
        print(
            f"DUDE {size:>13,}: {took:7.2f} s, {size / took / 1e6:6.1f} million symbols/s, "
            f"{size / took / plain:5.0f}x plain Python, {took / counting:.2f}x one bincount ({counting:.2f} s), "
            f"{row['memory'] / 1e6:.0f} MB beyond the input's {row['input'] / 1e6:.0f} MB"
        )
    return rows


def time_plane(sizes):
    rows = [alone(measure_plane, size) for size in sizes]
    for row in rows:
        print(
            f"DUDE on a plane {row['symbols']:>13,}: {row['seconds']:.2f} s, "
            f"{row['symbols'] / row['seconds'] / 1e6:.0f} million symbols/s; with its context chosen "
            f"{row['chosen']:.2f} s, {row['memory'] / 1e6:.0f} MB beyond what was there"
        )
    return rows


def time_neural(sizes, hidden, threads, only):
    rows = []
    for size in sizes:
        for adapt in (False, True) if only is None else (False,):
            row = alone(partial(measure_neural, adapt=adapt), size, hidden, threads)
            rows.append(row)
            took = row["seconds"]
            print(
                f"{row['what']:8s} {size:>13,}: {took:7.1f} s, {size / took / 1e6:.2f} million symbols/s, "
                f"{row['memory'] / 1e9:.2f} GB beyond the input"
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("dude", "plane", "neural"))
    parser.add_argument("--symbols", type=float, nargs="+", default=[1e7])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--only", choices=("denoise",))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = [int(size) for size in arguments.symbols]
    if arguments.what == "dude":
        rows = time_dude(sizes)
    elif arguments.what == "plane":
        rows = time_plane(sizes)
    else:
        rows = time_neural(sizes, arguments.hidden, arguments.threads, arguments.only)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
