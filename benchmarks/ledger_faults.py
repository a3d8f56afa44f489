"""Faults of a ledger on purpose: changed bytes, killed appenders, and odd content under the right signature.

A small ledger has a line of every kind, with receipts, roles and a time stamp where `openssl` can make one. Then

- ``bytes``: bytes of its files, of a receipt and of a record are changed; a check must refuse every change;
- ``kills``: processes append at once and are killed; no line that was acknowledged may be lost, moved or doubled;
- ``disks``: the disk is full at every point of an append (needs root and Linux); the ledger stays as it was;
- ``content``: parts of statements, heads, receipts and keys of commitments are removed or replaced, and signed again;
  whatever reads them must accept them or refuse them by name.

    python benchmarks/ledger_faults.py bytes --seconds 300
    python benchmarks/ledger_faults.py kills --seconds 60
    python benchmarks/ledger_faults.py disks --seconds 30
    python benchmarks/ledger_faults.py content --seconds 300 --seed 1
"""

import argparse
import contextlib
import copy
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from securesystemslib.dsse import Envelope

from myosotis.engine.errors import InputError
from myosotis.ledger import Claim, Ledger, Trusted, verify_ledger
from myosotis.ledger.claims import with_commitment
from myosotis.ledger.commitments import commit, entries_of, read_opening, write_opening
from myosotis.ledger.cyclonedx import bill_of_materials
from myosotis.ledger.destruction import destroy
from myosotis.ledger.envelopes import HEAD, LINE, EnvelopeError, canonical, payload_of
from myosotis.ledger.keys import make_key
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.model_card import model_card
from myosotis.ledger.pages import certificate, life_page
from myosotis.ledger.person import person_page
from myosotis.ledger.receipts import proofs_among, read_receipt, write_receipts
from myosotis.ledger.recorded import recorded_model
from myosotis.ledger.statements import KINDS, VERSIONS, Statement
from myosotis.ledger.table import log_table, remarks
from myosotis.ledger.timestamps import make_request, store_response
from myosotis.ledger.witnessing import add_answer, cosigned, request_of, write_checkpoint
from myosotis.report.render import render_html

LOG, HEAD_FILE = "log.intoto.jsonl", "head.json"
VERDICT = {
    "known": True,
    "forgotten": True,
    "kept": None,
    "sure": True,
    "forgetting_criteria": [{"name": "accuracy", "value": 0.1, "low": 0.03, "high": 0.4, "threshold": 0.2}],
    "keeping": [{"name": "test", "value": {"mean": 0.9, "low": 0.8, "high": 0.95}, "against": {"mean": 0.92}}],
    "goal_reached": {"mean": 0.9, "low": 0.8, "high": 0.95, "count": 20},
    "unseen": {"auc": 0.51, "auc_low": 0.45, "auc_high": 0.57},
    "control": {"against": "chance", "against_of": "unseen"},
    "over_forgetting": {"over_forgotten": False, "traceable": False},
}


def claim(kind, came_in, left, **more):
    """A claim of a made-up run, whose model has the digest of its name."""
    net = hashlib.sha256(left.encode())
    facts = {
        "run": {"name": left, "kind": "unlearn-language", "method": "er", "finished": "2026-05-04T03:02:01Z"},
        "evidence": {"result.json": hashlib.sha256(f"{kind} {came_in} {left}".encode()).hexdigest()},
        "verdict": VERDICT,
        **more,
    }
    subject = {"model": hashlib.sha256(net.digest()).hexdigest()}
    return Claim(kind, subject, {"net": net.hexdigest()}, came_in, (left,), facts)


class World:
    """A ledger with a line of every kind, its keys, and what a person has of it.

    Args:
        folder: Folder, which must not exist.
        authority: Time-stamping authority; no time stamp unless given.
    """

    def __init__(self, folder, authority=None):
        folder.mkdir(parents=True)
        self.folder, self.roots = folder, None if authority is None else authority.root
        self.operator, self.auditor = make_key(folder / "operator.key"), make_key(folder / "auditor.key")
        self.witness = make_key(folder / "w.key")
        self.trusted = Trusted([self.operator.public_key], [self.auditor.public_key], [self.witness.public_key], 1)
        self.ledger = Ledger.create(folder / "life", self.operator)
        self.ledger.add_key(self.auditor.public_key, "auditor", "auditor", self.operator)
        self.ledger.add_key(self.witness.public_key, "witness", "witness", self.operator)
        people = [{"question": f"Who is person {number}?", "answer": f"The baker of {number}."} for number in range(4)]
        self.record = folder / "person.json"
        self.record.write_text(json.dumps(people[1]))
        for name, rows in (("people", people), ("request", people[1:3])):
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        self.opening, self.receipt = folder / "learned.opening.json", folder / "receipts" / "line-1.receipt.json"
        self._append_lines()
        write_checkpoint(self.ledger, self.operator)
        state, answer = folder / "witness.json", folder / "answer"
        publics = [self.operator.public_key]
        answer.write_bytes(cosigned(request_of(self.ledger, 0), publics, self.witness, "witness", state)[0])
        add_answer(self.ledger, answer)
        if authority is not None:
            store_response(self.ledger, authority.answer(make_request(self.ledger)))
        self.lines = [(line, Statement.parse(payload_of(line, LINE))) for line in self.ledger.lines()]

    def _append_lines(self):
        learned = commit(entries_of(self.folder / "people.jsonl"))
        write_opening(learned, self.opening)
        self.ledger.append(with_commitment(claim("learn", None, "a"), learned), self.operator)
        forgotten = commit(entries_of(self.folder / "request.jsonl"))
        had, before = proofs_among(self.folder / "request.jsonl", [learned])
        write_receipts(proofs_among(self.folder / "request.jsonl", [forgotten])[0], self.receipt.parent, had)
        request = {"id": "17", "received": "2026-05-01", "untreated": ["backup"]}
        sums = {when: {"sums": f"{when} 1", "head": f"{when} 2"} for when in ("before", "after")}
        forget = claim("forget", "a", "b", request=request, statistics=sums, cost={"seconds": 1.5})
        self.ledger.append(with_commitment(forget, forgotten, before), self.operator)
        self.ledger.append(claim("audit", "b", "b"), self.auditor)
        copies = self.folder / "copies"
        copies.mkdir()
        for name in ("one", "two"):
            (copies / name).write_text(name)
        destroy(self.ledger, [copies], self.operator, self.folder / "destroying.json")
        release = claim("release", "b", "b", recipient="a hospital")
        self.ledger.append(replace(release, weights_out=()), self.operator)
        self.ledger.append(claim("forget", "b", "c"), self.operator, "trial")

    def copy(self, folder):
        """The ledger once more, in a folder whose files are damaged."""
        shutil.copytree(self.ledger.path, folder)
        return Ledger(folder)

    def holds(self, path, **options):
        return all(check.holds for check in verify_ledger(path, self.trusted, roots=self.roots, **options))


def time_authority(folder):
    """The time-stamping authority of the tests; None where `openssl` or the package for time stamps is missing."""
    path = Path(__file__).parents[1] / "tests" / "ledger" / "authority.py"
    spec = importlib.util.spec_from_file_location("authority", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Authority(folder) if module.Authority.is_available() else None


@dataclass
class Outcome:
    """What a campaign saw.

    Attributes:
        cases: Number of faults.
        faults: What should not have happened, in words.
        counts: How often each expected thing happened.
    """

    cases: int = 0
    faults: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)

    def __str__(self):
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"{self.cases} cases: {counted}; {len(self.faults)} faults", *self.faults])


def change_bytes(world, folder, draws, *, sample=None, deadline=float("inf")):
    """Change bytes of every file of a ledger, of a receipt and of its record, by one bit in two ways each.

    A few bytes of a time stamp are not signed by its authority (version numbers, a name of the algorithm: RFC 5652):
    with another value there it must still say the same.

    Args:
        world: The world.
        folder: Folder for the changed copy, which must not exist.
        draws: Random numbers.
        sample: Bytes of each file; all unless given.
        deadline: Time at which to stop.
    """
    ledger, outcome = world.copy(folder / "life"), Outcome()
    outside = [Path(shutil.copy(path, folder)) for path in (world.record, world.receipt)]
    cases, said = [], str(list(verify_ledger(ledger.path, world.trusted, roots=world.roots))[-1])
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        size = path.stat().st_size
        indices = range(size) if sample is None or size <= sample else draws.sample(range(size), sample)
        cases += [(path, index, bit) for index in indices for bit in (0x01, 0x20)]
    draws.shuffle(cases)
    for path, index, bit in cases:
        if time.monotonic() > deadline:
            break
        content = path.read_bytes()
        path.write_bytes(content[:index] + bytes([content[index] ^ bit]) + content[index + 1 :])
        options = {"proof": tuple(outside)} if path in outside else {}
        outcome.cases += 1
        name = f"{path.relative_to(folder)}, byte {index} ^ {bit}"
        try:
            last = list(verify_ledger(ledger.path, world.trusted, roots=world.roots, **options))[-1]
            if not last.holds:
                outcome.counts[last.name] += 1
            elif path.suffix == ".tsr" and str(last) == said:
                outcome.counts["unsigned part of a time stamp"] += 1
            else:
                outcome.faults.append(f"{name}: not noticed")
        except InputError:
            outcome.counts["input error"] += 1
        except Exception as error:
            outcome.faults.append(f"{name}: {_named(error)}")
        path.write_bytes(content)
    if not world.holds(ledger.path, proof=tuple(outside)):
        outcome.faults.append("the unchanged ledger does not hold")
    return outcome


def kill_appenders(folder, draws, *, rounds=None, deadline=float("inf"), processes=3):
    """Kill processes that append to one ledger; in the end it holds, with every line that was acknowledged.

    Args:
        folder: Folder of the ledger and its key, which must not exist.
        draws: Random numbers.
        rounds: Rounds of killed processes; until the deadline unless given.
        deadline: Time at which to stop.
        processes: Processes of each round.
    """
    folder.mkdir(parents=True)
    signer, outcome, acknowledged = make_key(folder / "life.key"), Outcome(), []
    ledger = Ledger.create(folder / "life", signer)
    while time.monotonic() < deadline and (rounds is None or outcome.cases < rounds * processes):
        children = []
        for number in range(processes):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(read)
                _append_until_killed(ledger.path, signer, f"{outcome.cases} {number}", write)
            os.close(write)
            children.append((pid, read))
        for pid, _ in children:
            time.sleep(draws.random() * 0.25)
            os.kill(pid, signal.SIGKILL)
        for pid, read in children:
            os.waitpid(pid, 0)
            with os.fdopen(read) as stream:
                said = stream.read().splitlines()
            acknowledged += [line for line in said if not line.startswith("error")]
            outcome.faults += [line for line in said if line.startswith("error")]
        outcome.cases += processes
    staged = len(list(ledger.path.glob(f".{HEAD_FILE}.*")))
    ledger.append(claim("learn", None, "last"), signer, "last")
    outcome.faults += [f"{path.name} is left" for path in ledger.path.glob(".*")]
    checks = list(verify_ledger(ledger.path, Trusted([signer.public_key])))
    outcome.faults += [f"{check.name}: {check.text}" for check in checks if not check.holds]
    names = [statement.predicate.run.name for statement in ledger.statements()]
    for line in acknowledged:
        number, _, name = line.partition(" ")
        if names[int(number) - 1 : int(number)] != [name]:
            outcome.faults.append(f"line {number}, {name}: lost or moved")
    outcome.faults += [f"{name}: {count} times" for name, count in Counter(names).items() if count > 1]
    outcome.counts |= {"lines": len(names), "acknowledged": len(acknowledged), "staged heads removed": staged}
    return outcome


def _append_until_killed(path, signer, name, write):
    try:
        ledger, number = Ledger(path), 0
        while True:
            name, number = f"{name.partition(':')[0]}:{number}", number + 1
            line = ledger.append(claim("learn", None, name), signer, name)
            os.write(write, f"{line} {name}\n".encode())
    except BaseException as error:
        os.write(write, f"error {_named(error)}\n".encode())
    finally:
        os._exit(1)


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system in memory of a size in bytes; gives a function that makes it large."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options, *more):
        subprocess.run(["mount", "-o", options, *more, str(folder)], check=True)  # noqa: S603, S607

    mount(f"size={size}", "-t", "tmpfs", "tmpfs")
    try:
        yield lambda: mount("remount,size=256m")
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def fill_disks(folder, draws, *, cases=None, deadline=float("inf")):
    """Append to a ledger on a disk until it is full, then give it room; no line is lost or torn.

    Args:
        folder: Folder of the disk and the key, which must not exist.
        draws: Random numbers.
        cases: Number of disks; until the deadline unless given.
        deadline: Time at which to stop.
    """
    folder.mkdir(parents=True)
    signer, outcome = make_key(folder / "life.key"), Outcome()
    trusted = Trusted([signer.public_key])
    while time.monotonic() < deadline and (cases is None or outcome.cases < cases):
        outcome.cases += 1
        with small_disk(folder / "disk", draws.randrange(10, 24) * 4096) as enlarge:
            ledger, length, done = Ledger.create(folder / "disk" / "life", signer), draws.randrange(200, 2000), 0
            log = ledger.path / LOG
            while True:
                name = str(done)
                before = log.read_bytes()
                try:
                    ledger.append(claim("learn", None, name, recipient="x" * length), signer, name)
                except OSError:
                    break
                done += 1
            last = list(verify_ledger(ledger.path, trusted))[-1]
            if log.read_bytes() == before:
                outcome.counts["before the line"] += 1
                outcome.faults += [] if last.holds else [f"full disk: {last.text}"]
            else:
                outcome.counts["between line and head"] += 1
                if "the next one completes it" not in last.text or not log.read_bytes().startswith(before):
                    outcome.faults.append(f"full disk: {last.text}")
                done += 1
            enlarge()
            line = ledger.append(claim("learn", None, "last"), signer, "last")
            last = list(verify_ledger(ledger.path, trusted))[-1]
            if line != done + 1 or not last.holds:
                outcome.faults.append(f"with room again: line {line} after {done}, {last.text}")
            outcome.faults += [f"{path.name} is left" for path in ledger.path.glob(".*")]
    return outcome


ODD = (None, [], {}, "", "x", "17\n", 0, 7, -1, True, 1.5, 2**53 - 1, -(2**53) + 1, 1e300, [None], [[7]], {"a": None})
RAW = {
    "deep list": b"[" * 240 + b"]" * 240,
    "list of some depth": b"[" * 600 + b"]" * 600,
    "deeper list": b"[" * 5000 + b"]" * 5000,
    "deep object": b'{"a":' * 240 + b"0" + b"}" * 240,
    "object of some depth": b'{"a":' * 600 + b"0" + b"}" * 600,
    "deeper object": b'{"a":' * 5000 + b"0" + b"}" * 5000,
    "many digits": b"1" + b"0" * 6000,
    "whole double": b"100000000000000000000",
    "large double": b"1e+300",
    "too large": b"1e400",
    "not a number": b"NaN",
    "surrogate": rb'"\ud800"',
    "control": rb'"\u0000\u001b[8m"',
    "reading order": '"\u202e\ufffe\U0001f600"'.encode(),
    "long text": b'"' + b"]" * 100_000 + b'"',
}
"""JSON that Python's writer refuses, or that the library's would take long for."""


def mutated(value, draws):
    """JSON with one part removed, renamed or replaced; its bytes, and what was done."""
    value = copy.deepcopy(value)
    path = draws.choice([one for one in _parts(value) if one])
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    old, way, raw = inner[path[-1]], draws.random(), draws.choice(list(RAW))
    what = ".".join(map(str, path))
    if way < 0.2 and isinstance(inner, dict):
        del inner[path[-1]]
        return canonical(value), f"{what} removed"
    if way < 0.3 and isinstance(inner, dict):
        inner[draws.choice(("x", "name", "", "value"))] = old
        return canonical(value), f"{what} twice"
    if way < 0.35 and isinstance(inner, list):
        inner.append(old)
        return canonical(value), f"{what} repeated"
    if way < 0.4 and what == "predicateType":
        inner[path[-1]] = f"urn:myosotis:ledger:{draws.choice(KINDS)}:{draws.choice(VERSIONS)}"
        return canonical(value), f"{what} = {inner[path[-1]]}"
    if way < 0.45:
        other = copy.deepcopy(value)
        for key in (theirs := draws.choice(list(_parts(value)))):
            other = other[key]
        inner[path[-1]] = other
        return canonical(value), f"{what} = {'.'.join(map(str, theirs))}"
    if way < 0.6:
        inner[path[-1]] = "@@"
        return canonical(value).replace(b'"@@"', RAW[raw]), f"{what} = {raw}"
    inner[path[-1]] = draws.choice([one for one in ODD if one != old])
    return canonical(value), f"{what} = {inner[path[-1]]!r}"


def _parts(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _parts(one, (*path, key))


def _sealed(payload, kind, signer):
    envelope = Envelope(payload, kind, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def odd_content(world, folder, draws, *, cases=None, deadline=float("inf")):
    """Replace parts of signed content, of receipts and of keys of commitments, and let everything read them.

    Args:
        world: The world.
        folder: Folder for the changed copy, which must not exist.
        draws: Random numbers.
        cases: Number of replaced parts; until the deadline unless given.
        deadline: Time at which to stop.
    """
    ledger, outcome = world.copy(folder / "life"), Outcome()
    receipt, opening = folder / "receipt.json", folder / "opening.json"
    seen = set()
    while time.monotonic() < deadline and (cases is None or outcome.cases < cases):
        outcome.cases += 1
        target = draws.choices(("statement", "head", "receipt", "opening", "record"), (10, 2, 2, 2, 2))[0]
        record = world.record
        shutil.copy(world.receipt, receipt)
        if target == "statement":
            what = _write_statements(world, ledger, draws)
        elif target == "head":
            shutil.copytree(world.ledger.path, ledger.path, dirs_exist_ok=True)
            content, what = mutated(json.loads(payload_of((ledger.path / HEAD_FILE).read_bytes(), HEAD)), draws)
            (ledger.path / HEAD_FILE).write_bytes(_sealed(content, HEAD, world.operator))
        else:
            shutil.copytree(world.ledger.path, ledger.path, dirs_exist_ok=True)
            source = {"receipt": world.receipt, "opening": world.opening, "record": world.record}[target]
            content, what = mutated(json.loads(source.read_text()), draws)
            (folder / f"{target}.json").write_bytes(content)
            (folder / f"{target}.json").chmod(0o600)
            record = folder / "record.json" if target == "record" else record
        for name, read in _readers(world, ledger, record, receipt, opening if target == "opening" else None):
            try:
                read()
                outcome.counts["accepted"] += 1
            except (InputError, EnvelopeError):
                outcome.counts["refused"] += 1
            except Exception as error:
                fault = f"{name}: {_named(error)}"
                if fault not in seen:
                    seen.add(fault)
                    outcome.faults.append(f"{fault} ({target}: {what})")
    return outcome


def _write_statements(world, ledger, draws):
    """Write a log of which one statement is odd, each line by its own signer, and the head over it."""
    changed = draws.randrange(len(world.lines))
    head = replace(world.ledger.head(), size=0, length=0, last=None, frontier=Frontier(), tips={})
    lines, what = [], ""
    for number, (line, statement) in enumerate(world.lines):
        content = json.loads(payload_of(line, LINE))
        content["predicate"]["previous"] = head.last
        payload = canonical(content)
        if number == changed:
            payload, what = mutated(content, draws)
        line = _sealed(payload, LINE, world.auditor if statement.kind == "audit" else world.operator)
        try:
            statement = Statement.parse(payload)
        except EnvelopeError:  # its head is that of the statement as it was
            statement = Statement.parse(canonical(content))
        head = head.with_line(line, statement)
        lines.append(line + b"\n")
    (ledger.path / LOG).write_bytes(b"".join(lines))
    (ledger.path / HEAD_FILE).write_bytes(_sealed(canonical(head.content()), HEAD, world.operator))
    return f"line {changed + 1}, {what}"


def _readers(world, ledger, record, receipt, opening):
    """Everything that reads a ledger, by name."""
    if opening is not None:
        yield "read_opening", lambda: read_opening(opening)
        return
    yield "read_receipt", lambda: read_receipt(receipt)
    for name, options in (
        ("", {}),
        (" --record", {"proof": (record, receipt)}),
        (" --model", {"model": world.receipt.parent}),
        (" --since", {"since": world.ledger.path / HEAD_FILE}),
    ):
        yield f"verify{name}", lambda options=options: list(verify_ledger(ledger.path, world.trusted, **options))
    since = ledger.path / HEAD_FILE
    yield "verify --since it", lambda: list(verify_ledger(world.ledger.path, world.trusted, since=since))
    yield "trusted", lambda: Trusted.by_ledger(ledger.path)
    yield "export", lambda: _export(ledger)
    yield "append", lambda: ledger.check(claim("forget", "b", "d"), world.operator)
    yield "append with records", lambda: ledger.check(_of_learned(world), world.operator, "main")
    statements = []
    yield "statements", lambda: statements.extend(ledger.statements())
    if len(statements) < len(world.lines):
        return
    signers = ["operator"] * len(statements)
    said = []
    yield "log", lambda: list(log_table(statements, signers))
    yield "remarks", lambda: said.extend(remarks(statements))
    yield "life_page", lambda: render_html(life_page(statements, signers, said))
    for number, statement in enumerate(statements, start=1):
        yield "certificate", lambda one=statement, number=number: render_html(certificate(one, number, "operator"))
        yield "person_page", lambda number=number: person_page(statements, number, world.ledger.head().roles.values())


def _export(ledger):
    model = recorded_model(ledger)
    json.dumps(bill_of_materials(model))
    model_card(model)


def _of_learned(world):
    learned = {"root": read_opening(world.opening).root, "count": 1}
    records = {"count": 1, "scheme": "myosotis/v2", "root": "ab" * 32, "commitments": 1, "learned": [learned]}
    return claim("forget", "b", "d", records=records)


def _named(error):
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {str(error)[:120]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["bytes", "kills", "disks", "content"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draws, deadline = random.Random(arguments.seed), time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.campaign in ("kills", "disks"):
            campaign = {"kills": kill_appenders, "disks": fill_disks}[arguments.campaign]
            outcome = campaign(folder / arguments.campaign, draws, deadline=deadline)
        else:
            world = World(folder / "world", time_authority(folder / "authority"))
            campaign = {"bytes": change_bytes, "content": odd_content}[arguments.campaign]
            outcome = campaign(world, folder / "changed", draws, deadline=deadline)
    print(outcome)
    raise SystemExit(bool(outcome.faults))


if __name__ == "__main__":
    main()
