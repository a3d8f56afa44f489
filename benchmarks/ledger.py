"""Speed of a ledger: appending to many lines, checking them all, and receipts for many records.

The lines are made in one go, with a signature each, and the head once; appending and checking are those of the package.

    python benchmarks/ledger.py --out OUT --lines 100000 --records 20000
"""

import argparse
import hashlib
import time
from pathlib import Path

from myosotis.ledger import Claim, Ledger, verify_ledger
from myosotis.ledger.commitments import Entry, commit
from myosotis.ledger.envelopes import HEAD, LINE, sealed
from myosotis.ledger.keys import make_key
from myosotis.ledger.receipts import write_receipts
from myosotis.ledger.statements import make_statement


def claim(number):
    name = f"request-{number}"
    subject = hashlib.sha256(name.encode()).hexdigest()
    facts = {
        "run": {"name": name, "kind": "unlearn-classifier", "method": "adv_imp"},
        "tool": {"name": "myosotis", "version": "0"},
        "evidence": {"result.json": subject, "report.html": subject},
        "verdict": {"known": True, "forgotten": True, "kept": True, "auc": 0.51},
    }
    return Claim("forget", {"model": subject}, {"model.safetensors": subject}, f"request-{number - 1}", (name,), facts)


def filled(out, lines):
    """A ledger of many lines, whose head is written once."""
    signer = make_key(out / "life.key")
    ledger = Ledger.create(out / "life", signer)
    head = ledger.head()
    with (ledger.path / "log.intoto.jsonl").open("wb") as stream:
        for number in range(lines):
            position = (head.ledger, head.size, head.last)
            statement = make_statement(position, claim(number), "main", head.tips.get("main"))
            line = sealed(statement, LINE, signer)
            stream.write(line + b"\n")
            head = head.with_line(line, statement)
    (ledger.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))
    return ledger, signer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder, which must not exist")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--records", type=int, default=20_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    started = time.perf_counter()
    ledger, signer = filled(arguments.out, arguments.lines)
    print(f"made {arguments.lines} lines in {time.perf_counter() - started:.1f} s")
    times = []
    for number in range(arguments.lines, arguments.lines + 20):
        started = time.perf_counter()
        ledger.append(claim(number), signer)
        times.append(time.perf_counter() - started)
    print(f"append: median {sorted(times)[10] * 1000:.1f} ms, largest {max(times) * 1000:.1f} ms")
    started = time.perf_counter()
    for check in verify_ledger(ledger.path, ledger.keys):
        if not check.holds:
            raise SystemExit(check.text)
        print(f"  {check.name} after {time.perf_counter() - started:.1f} s")
    entries = [
        Entry(f"line-{number}", "text", hashlib.sha256(str(number).encode()).digest())
        for number in range(arguments.records)
    ]
    started = time.perf_counter()
    commitment = commit(entries)
    made = time.perf_counter() - started
    proofs = commitment.proofs()
    proven = time.perf_counter() - started
    write_receipts(commitment.root, proofs, arguments.out / "receipts")
    written = time.perf_counter() - started
    print(f"{arguments.records} commitments: {made:.2f} s, with proofs {proven:.2f} s, with receipts {written:.1f} s")


if __name__ == "__main__":
    main()
