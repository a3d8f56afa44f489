"""Time DUDE and neural denoising: symbols a second, growth, and peak memory, each beside its peer or aim.

    python benchmarks/denoising_speed.py dude --symbols 1e7 1e8
    python benchmarks/denoising_speed.py text
    python benchmarks/denoising_speed.py memory --symbols 8e6
    python benchmarks/denoising_speed.py fastq --megabytes 20 100 500
    python benchmarks/denoising_speed.py plane --symbols 8.7e6 3.5e7
    python benchmarks/denoising_speed.py neural --symbols 1e6
    python benchmarks/denoising_speed.py neural --symbols 1e8 --hidden 16 --only denoise

DUDE runs over four symbols with five on each side, beside one pass of np.bincount over the same keys, the best of five
of both in turn, the passes that it cannot do without, and a plain-Python version of the rule. ``text`` judges 64 kB of
this project's documents without bias, ``memory`` looks for bytes a symbol, ``fastq`` denoises files that it makes. On a
plane DUDE runs over bits with twelve neighbours, and with a context that is chosen from eight, as by the command. Each
measurement has a process of its own; times are those of the processor, and memory is its largest resident size beyond
that before the work began (Linux).
"""

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.commands import DenoiseOptions, denoise_dna
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.count_tables import line_keys
from myosotis.denoising.counting import dude
from myosotis.denoising.files.symbols import read_symbols, write_symbols
from myosotis.denoising.methods import denoise
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes
from myosotis.denoising.summary import Tally

K, Q = 5, 4
REPEATS = 5
BINCOUNTS = {10_000_000: 2.5, 100_000_000: 2.0}
"""Aims: times of one np.bincount."""
TEXT_SECONDS = 5.0
BYTES = {"DUDE": 2, "report": 1, "neural contexts": 8, "text, read": 2, "text, written": 2}
"""Aims: bytes a symbol beyond the symbols; of a text that is read beyond the file."""
EXPONENT = 1.1
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


class Peak:
    """The largest resident size from now on, beyond that of now."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self.before = self.read("VmRSS")

    def __call__(self):
        return self.read("VmHWM") - self.before

    @staticmethod
    def read(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


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
    noisy, table = source(size), Q ** (2 * K + 1)
    keys = np.empty(size - 2 * K, dtype=np.int64)
    for begin, some in line_keys(noisy, K, Q):
        keys[begin : begin + len(some)] = some
    times = {"seconds": [], "bincount": [], "keys": [], "count": [], "look up": []}
    for _ in range(REPEATS):
        # In turn, as others may use the memory and its caches.
        times["seconds"].append(timed(dude, noisy, LAW, k=K))
        times["bincount"].append(timed(np.bincount, keys, minlength=table))
        times["keys"].append(timed(lambda: [None for _ in line_keys(noisy, K, Q)]))
        times["count"].append(timed(count_in_blocks, keys, np.zeros(table, dtype=np.int32)))
        times["look up"].append(timed(look_up_in_blocks, keys, np.zeros(table, dtype=np.uint8)))
    return {"symbols": size, "input": noisy.nbytes} | {name: min(values) for name, values in times.items()}


def count_in_blocks(keys, counts):
    for begin in range(0, len(keys), 1 << 16):
        np.add.at(counts, keys[begin : begin + (1 << 16)], np.int32(1))


def look_up_in_blocks(keys, rules):
    found = np.empty(1 << 16, dtype=np.uint8)
    for begin in range(0, len(keys), 1 << 16):
        some = keys[begin : begin + (1 << 16)]
        np.take(rules, some, out=found[: len(some)], mode="clip")


def timed(work, *arguments, **options):
    started = time.process_time()
    work(*arguments, **options)
    return time.process_time() - started


def measure_text(size=64_000):
    """The first letters of this project's documents, some of them replaced."""
    pages = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
    text = "".join(page.read_text(encoding="utf-8") for page in pages)[:size]
    lines = [line for line in text.split("\n") if line]
    letters = sorted(set("".join(lines)))
    clean = np.array([letters.index(letter) for letter in "".join(lines)], dtype=np.uint8)
    channel, lengths = Channel.symmetric(len(letters), 0.05), [len(line) for line in lines]
    noisy = channel.corrupt(clean, np.random.default_rng(0))
    options = {"k": 2, "lengths": lengths}
    return {
        "letters": len(letters),
        "unbiased": timed(dude, noisy, channel, unbiased=True, **options),
        "left out": timed(dude, noisy, channel, leave_one_out=True, **options),
        "chosen from seven": timed(denoise, noisy, channel, "dude", lengths=lengths),
    }


def measure_memory(what, size):
    noisy = source(size)
    if what == "DUDE":
        dude(noisy[:1000], LAW, k=K)
        beyond = Peak()
        dude(noisy, LAW, k=K)
    elif what == "report":
        beyond = Peak()
        Tally(Q).add(noisy, noisy, noisy)
    elif what == "neural contexts":
        denoiser, passes = NeuralDenoiser(Q, Context1d(10)), Passes(epochs=1, limit=512)
        denoiser.adapt(noisy[:100_000], LAW, passes=passes)
        beyond = Peak()
        denoiser.adapt(noisy, LAW, passes=passes)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path, letters = Path(folder) / "a.txt", np.frombuffer(b"abcd", dtype=np.uint8)[noisy]
            letters[60::61] = ord("\n")
            path.write_bytes(letters)
            del noisy, letters
            beyond = Peak()
            content = read_symbols(path)
            if what == "text, written":
                beyond = Peak()
                write_symbols(path.with_name("b.txt"), content.symbols, content)
    return {"what": what, "symbols": size, "bytes": beyond() / size}


def write_fastq(path, megabytes, seed=0):
    """Reads of 100 bases, one in twenty of them wrong, of a sequence of 100,000."""
    draws = np.random.default_rng(seed)
    genome, written = draws.integers(0, 4, 100_000, dtype=np.uint8), 0
    channel, letters = Channel.symmetric(4, 0.05), np.frombuffer(b"ACGT", dtype=np.uint8)
    with path.open("wb") as out:
        while written < megabytes * 10**6:
            starts = draws.integers(0, len(genome) - 100, 10_000)
            rows = letters[channel.corrupt(genome[starts[:, None] + np.arange(100)], draws)]
            text = b"".join(
                b"@read%d lane 1\n%b\n+\n%b\n" % (start, row.tobytes(), b"I" * 100)
                for start, row in zip(starts.tolist(), rows, strict=True)
            )
            written += out.write(text)


def measure_fastq(megabytes, context):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.fastq"
        write_fastq(path, megabytes)
        size, beyond = path.stat().st_size, Peak()
        options = DenoiseOptions(rate=0.05, method="dude_loo", context=context)
        took = timed(denoise_dna, path, path.with_name("out.fastq"), options)
        assert path.with_name("out.fastq").stat().st_size == size
        return {"bytes": size, "seconds": took, "memory": beyond()}


def measure_plane(size):
    side = math.isqrt(size)
    rows, columns = np.sin(np.arange(side) / 9), np.cos(np.arange(side) / 7)
    noisy = BITS.corrupt((np.add.outer(rows, columns) > 0.2).astype(np.uint8), np.random.default_rng(0))
    beyond = Peak()
    took = min(timed(dude, noisy, BITS, neighbours=12) for _ in range(REPEATS))
    chosen = timed(denoise, noisy, BITS, "dude")
    return {"symbols": noisy.size, "seconds": took, "chosen": chosen, "memory": beyond()}


def measure_plain(size):
    noisy = source(size)
    started = time.process_time()
    found = plainly(noisy)
    took = time.process_time() - started
    assert (found == dude(noisy, LAW, k=K).symbols).all()
    return size / took


def measure_neural(size, hidden, threads, *, adapt):
    torch.set_num_threads(threads)
    noisy = source(size)
    denoiser, beyond = NeuralDenoiser(Q, Context1d(10), hidden=hidden, layers=3), Peak()
    started = time.process_time()
    if adapt:
        denoiser.adapt(noisy, LAW, passes=Passes(epochs=1))
    else:
        denoiser.denoise(noisy, LAW)
    took = time.process_time() - started
    return {"what": "adapt" if adapt else "denoise", "symbols": size, "seconds": took, "memory": beyond()}


def time_dude(sizes):
    plain = alone(measure_plain, 200_000)
    print(f"plain Python: {plain:,.0f} symbols/s, the same result")
    rows = []
    for size in sizes:
        row = alone(measure_dude, size)
        rows.append(row)
        took, counting = row["seconds"], row["bincount"]
        passes = 2 * row["keys"] + row["count"] + row["look up"]
        aim = f", aim {BINCOUNTS[size]}" if size in BINCOUNTS else ""
        print(
            f"DUDE {size:>13,}: {took:7.2f} s, {size / took / 1e6:6.1f} million symbols/s, "
            f"{size / took / plain:5.0f}x plain Python, {took / counting:.2f}x one bincount ({counting:.2f} s{aim}); "
            f"keys twice, counting and looking up alone {passes / counting:.2f}x "
            f"({row['keys']:.2f}, {row['count']:.2f}, {row['look up']:.2f} s)"
        )
    return rows


def time_text():
    row = alone(measure_text)
    for what in ("unbiased", "left out", "chosen from seven"):
        print(f"{row['letters']} letters, 64 kB, {what}: {row[what]:.2f} s, aim {TEXT_SECONDS:g}")
    return [row]


def time_memory(sizes):
    rows = [alone(measure_memory, what, size) for size in sizes for what in BYTES]
    for row in rows:
        what = row["what"]
        print(f"{what:16s} {row['symbols']:>13,}: {row['bytes']:.2f} bytes a symbol, aim {BYTES[what]}")
    return rows


def time_fastq(megabytes, context):
    rows = [alone(measure_fastq, size, context) for size in megabytes]
    for row in rows:
        print(
            f"FASTQ {row['bytes'] / 1e6:6.0f} MB: {row['seconds']:6.1f} s, {row['bytes'] / row['seconds'] / 1e6:.1f} "
            f"MB/s, {row['memory'] / 1e6:.0f} MB of memory"
        )
    if len(rows) > 1:
        sizes = np.log([row["bytes"] for row in rows])
        for what in ("seconds", "memory"):
            slope = np.polyfit(sizes, np.log([row[what] for row in rows]), 1)[0]
            print(f"{what} grow with the size to the power of {slope:.2f}, aim {EXPONENT}")
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
    parser.add_argument("what", choices=("dude", "text", "memory", "fastq", "plane", "neural"))
    parser.add_argument("--symbols", type=float, nargs="+", default=[1e7])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[20, 100, 500])
    parser.add_argument("--context", type=int, help="of fastq; chosen unless given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--only", choices=("denoise",))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = [int(size) for size in arguments.symbols]
    if arguments.what == "dude":
        rows = time_dude(sizes)
    elif arguments.what == "text":
        rows = time_text()
    elif arguments.what == "memory":
        rows = time_memory(sizes)
    elif arguments.what == "fastq":
        rows = time_fastq(arguments.megabytes, arguments.context)
    elif arguments.what == "plane":
        rows = time_plane(sizes)
    else:
        rows = time_neural(sizes, arguments.hidden, arguments.threads, arguments.only)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
