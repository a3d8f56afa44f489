"""Speed and memory of a ledger: appending to many lines, checking them all, and receipts for many records.

The lines are made in one go, with a signature each, and the head once; appending and checking are those of the package,
each measured in a process of its own. A process that has only imported the package is measured as well.

    python benchmarks/ledger.py --out OUT --lines 100000 --records 20000
    python benchmarks/ledger.py --out OUT --lines 12000 --kind learn

Lines of kind ``learn`` commit to their records, each to others.
"""

import argparse
import hashlib
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from myosotis.ledger import Claim, Ledger, Trusted, verify_ledger
from myosotis.ledger.commitments import Entry, commit
from myosotis.ledger.envelopes import HEAD, LINE, canonical, sealed
from myosotis.ledger.keys import make_key, open_signer
from myosotis.ledger.receipts import proofs_of_all, write_receipts
from myosotis.ledger.statements import Statement


def claim(number, kind, **records):
    """A claim of a made-up run, which began with the model of the one before."""
    net = hashlib.sha256(f"request-{number}".encode())
    subject = hashlib.sha256(net.digest()).hexdigest()
    facts = {
        "run": {"name": f"request-{number}", "kind": "unlearn-classifier", "method": "adv_imp"},
        "tool": {"name": "myosotis", "version": "0"},
        "evidence": {"result.json": subject, "report.html": subject},
        "verdict": {"known": True, "forgotten": True, "kept": True, "auc": 0.51},
        "records": {"count": 1, **records},
    }
    came_in = f"request-{number - 1}" if number else None
    return Claim(kind, {"model": subject}, {"net": net.hexdigest()}, came_in, (f"request-{number}",), facts)


def committed(number):
    """What a line says of records that it commits to."""
    root = hashlib.sha256(f"records-{number}".encode()).hexdigest()
    return {"scheme": "myosotis/v2", "root": root, "commitments": 2}


def fill(out, lines, kind):
    """Make a ledger of many lines, whose head is written once; the first line learns."""
    signer = make_key(out / "life.key")
    ledger = Ledger.create(out / "life", signer)
    head = ledger.head()
    with (ledger.path / "log.intoto.jsonl").open("wb") as stream:
        for number in range(lines):
            learns = kind == "learn" or number == 0
            made = claim(number, "learn" if learns else "forget", **(committed(number) if learns else {}))
            content = made.statement(head, "main", head.tips.get("main"))
            line = sealed(content, LINE, signer)
            stream.write(line + b"\n")
            head = head.with_line(line, Statement.parse(canonical(content)))
    (ledger.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))


def load(out):
    """Nothing but what everything else loads too."""
    open_signer(str(out / "life.key"))


def append(out):
    """Twenty lines after the newest."""
    ledger, signer = Ledger(out / "life"), open_signer(str(out / "life.key"))
    size, seconds = ledger.head().size, []
    for number in range(size, size + 20):
        started = time.perf_counter()
        ledger.append(claim(number, "forget"), signer)
        seconds.append(time.perf_counter() - started)
    return f"median {1000 * statistics.median(seconds):.1f} ms, largest {1000 * max(seconds):.1f} ms"


def append_branch(out):
    """A branch that begins at the second line, which is looked for in all of them."""
    ledger, signer = Ledger(out / "life"), open_signer(str(out / "life.key"))
    ledger.append(claim(1, "forget"), signer, "new")


def append_learned(out):
    """A line whose records the first line had learned: that it follows from it is found by reading all lines."""
    ledger, signer = Ledger(out / "life"), open_signer(str(out / "life.key"))
    records = {**committed("x"), "learned": [{"root": committed(0)["root"], "count": 1}]}
    ledger.append(claim(ledger.head().size - 1, "forget", **records), signer)


def verify(out):
    """All checks."""
    ledger = Ledger(out / "life")
    for check in verify_ledger(ledger.path, Trusted(ledger.keys)):
        if not check.holds:
            raise SystemExit(check.text)


def receive(out, count=20_000):
    """Commitments with their proofs, written as receipts."""
    entries = [
        Entry(f"line-{number}", "text", hashlib.sha256(str(number).encode()).digest()) for number in range(count)
    ]
    started = time.perf_counter()
    commitment = commit(entries)
    proofs = proofs_of_all(commitment)
    proven = time.perf_counter() - started
    write_receipts(proofs, out / "receipts")
    return f"commitments with proofs {proven:.2f} s"


def measured(job, *arguments):
    """Seconds of a job, those of its processor, peak memory of its process in MB, and what it says."""
    started, worked = time.perf_counter(), time.process_time()
    said = job(*arguments)
    return time.perf_counter() - started, time.process_time() - worked, _peak(), said


def _peak():
    """Peak memory of this process in MB; the system's own figure begins with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder, which must not exist")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kind", choices=["forget", "learn"], default="forget")
    parser.add_argument("--records", type=int, default=20_000, help="records that receipts are written for")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    out = arguments.out
    jobs = [
        (fill, out, arguments.lines, arguments.kind),
        (load, out),
        (append, out),
        (append_branch, out),
        (append_learned, out),
        (verify, out),
        (receive, out, arguments.records),
    ]
    for job, *given in jobs:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            seconds, worked, megabytes, said = process.submit(measured, job, *given).result()
        more = f"; {said}" if said else ""
        print(f"{job.__name__}: {seconds:.2f} s, processor {worked:.2f} s, {megabytes:.0f} MB{more}", flush=True)
    size = (out / "life" / "log.intoto.jsonl").stat().st_size
    print(f"log of {arguments.lines} lines: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
