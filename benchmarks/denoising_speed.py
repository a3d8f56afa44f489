"""Time DUDE and neural denoising: symbols a second, growth, and peak memory.

    python benchmarks/denoising_speed.py dude --symbols 1e7 1e8
    python benchmarks/denoising_speed.py neural --symbols 1e6
    python benchmarks/denoising_speed.py neural --symbols 1e8 --hidden 16 --only denoise

DUDE runs over four symbols with five on each side, beside one pass of np.bincount over the same keys and a plain-Python
version of the rule. Memory is the largest resident size of the process beyond that before the work began.
"""

import argparse
import json
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.dude import _line_keys, dude
from myosotis.denoising.neural import NeuralDenoiser, Passes

K, Q = 5, 4
LAW = Channel.symmetric(Q, 0.1)


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


def time_dude(sizes):
    rows = []
    small = source(200_000)
    started = time.perf_counter()
    slow = plainly(small)
    plain = len(small) / (time.perf_counter() - started)
    assert (slow == dude(small, LAW, k=K).symbols).all()
    print(f"plain Python: {plain:,.0f} symbols/s, the same result")
    for size in sizes:
        noisy = source(size)
        before = peak()
        started = time.perf_counter()
        dude(noisy, LAW, k=K)
        took = time.perf_counter() - started
        more = peak() - before
        counting = 0.0
        for _, keys in _line_keys(noisy, K, Q):
            begun = time.perf_counter()
            np.bincount(keys, minlength=Q ** (2 * K + 1))
            counting += time.perf_counter() - begun
        row = {"symbols": size, "seconds": took, "bincount": counting, "memory": more, "input": noisy.nbytes}
        rows.append(row)
        print(
            f"DUDE {size:>13,}: {took:7.2f} s, {size / took / 1e6:6.1f} million symbols/s, "
            f"{size / took / plain:5.0f}x plain Python, {took / counting:.2f}x one bincount ({counting:.2f} s), "
            f"{more / 1e6:.0f} MB beyond the input's {noisy.nbytes / 1e6:.0f} MB"
        )
    return rows


def time_neural(sizes, hidden, only):
    rows = []
    for size in sizes:
        noisy = source(size)
        denoiser, before = NeuralDenoiser(Q, Context1d(10), hidden=hidden, layers=3), peak()
        if only != "denoise":
            started = time.perf_counter()
            denoiser = denoiser.adapt(noisy, LAW, passes=Passes(epochs=1))
            took = time.perf_counter() - started
            rows.append({"what": "adapt", "symbols": size, "seconds": took, "memory": peak() - before})
            print(f"adapt, a pass   {size:>13,}: {took:7.1f} s, {size / took / 1e6:.2f} million symbols/s")
        started = time.perf_counter()
        denoiser.denoise(noisy, LAW)
        took = time.perf_counter() - started
        rows.append({"what": "denoise", "symbols": size, "seconds": took, "memory": peak() - before})
        print(
            f"denoise         {size:>13,}: {took:7.1f} s, {size / took / 1e6:.2f} million symbols/s, "
            f"{(peak() - before) / 1e9:.2f} GB beyond the input"
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("dude", "neural"))
    parser.add_argument("--symbols", type=float, nargs="+", default=[1e7])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--only", choices=("denoise",))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = [int(size) for size in arguments.symbols]
    rows = time_dude(sizes) if arguments.what == "dude" else time_neural(sizes, arguments.hidden, arguments.only)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
