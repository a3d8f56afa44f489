"""Faults on purpose: kills, signals, full disks, damaged files, second writers, dead ranks and workers, clocks.

Every campaign takes the small jobs of ``fault_jobs.py``, does something to a run, continues it with ``--resume``, and
compares result, events and weights with those of an uninterrupted run. The modules are imported once; a command is a
fork that calls the command line, in a session of its own, so that it lasts seconds and a fault falls into its work.
Commands with processes of their own (workers, ranks) are started as users start them.

    python benchmarks/faults.py corruption --out runs/faults
    python benchmarks/faults.py kills --out runs/faults --cases 20
    python benchmarks/faults.py table --out runs/faults

Rows are appended to ``OUT/rows.jsonl``; a campaign that was stopped goes on where it was. Disks of a given size need
root and Linux; without, only the largest file is limited.
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from fault_files import corruption
from fault_processes import ranks, workers, writers
from fault_runs import HINT, KINDS, Campaigns, Command, carry_out, entries, import_everything


def control(campaigns):
    """A second uninterrupted run of each kind is equal to the first: the comparison blames nobody for nothing."""
    for kind in campaigns.kinds:
        if not campaigns.done("control", kind, 0):
            _, first = campaigns.reference(kind)
            run = campaigns.fresh()
            ending = carry_out(campaigns.command(kind, run))
            outcome, changed = campaigns.resumed(kind, run, ending)
            campaigns.add("control", kind, 0, outcome, changed=changed, seconds=[first, ending.seconds])


def kills(campaigns):
    """SIGKILL at a random moment, a second one while the run is continued in a fifth of the cases, then --resume."""
    for kind in campaigns.kinds:
        for case in range(campaigns.cases):
            if not campaigns.done("kills", kind, case):
                kill(campaigns, kind, case)


def kill(campaigns, kind, case):
    _, seconds = campaigns.reference(kind)
    draws = campaigns.draws("kills", kind, case)
    at, ending = [], None
    while not at:  # a run that ends before its kill is no case
        run, share = campaigns.fresh(), 1.0
        for _ in range(2 if case % 5 == 4 else 1):
            command = Command(campaigns.command(kind, run, "--resume"))
            moment = draws.uniform(0, share * seconds)
            ending = command.wait(moment)
            if ending is not None:
                break
            command.kill()
            at.append(round(moment, 2))
            share = 0.6
    outcome, changed = campaigns.resumed(kind, run, ending)
    return campaigns.add("kills", kind, case, outcome, killed_at=at, changed=changed)


ENDINGS = {signal.SIGINT: (130, f"interrupted{HINT}"), signal.SIGTERM: (143, f"terminated{HINT}")}


def signals(campaigns):
    """Ctrl-C and SIGTERM at random moments: exit status, one line, no traceback; then --resume."""
    for kind in campaigns.kinds:
        for case in range(campaigns.cases):
            if not campaigns.done("signals", kind, case):
                send_signal(campaigns, kind, case)


def send_signal(campaigns, kind, case):
    _, seconds = campaigns.reference(kind)
    number = (signal.SIGTERM, signal.SIGINT)[case % 2]
    draws = campaigns.draws("signals", kind, case)
    while True:
        run = campaigns.fresh()
        command = Command(campaigns.command(kind, run))
        if command.wait(draws.uniform(0.05, 0.9) * seconds) is None:
            break
    sent = time.monotonic()
    command.send(number)
    ending = command.ending()
    waited = time.monotonic() - sent
    status, line = ENDINGS[number]
    clean = ending.status == status and ending.last_line == line and not ending.traceback
    outcome, changed = campaigns.resumed(kind, run)
    clean_outcome = outcome if clean else f"ended with {ending.status}, {ending.last_line[-100:]!r}; {outcome}"
    details = {"signal": number.name, "seconds": round(waited, 2), "changed": changed}
    return campaigns.add("signals", kind, case, clean_outcome, **details)


def disks(campaigns):
    """A disk that is full, or a largest file: one line and status 1; more room, and --resume."""
    for kind in campaigns.kinds:
        reference, _ = campaigns.reference(kind)
        sizes = [path.stat().st_size for path in reference.rglob("*") if path.is_file()]
        if campaigns.tmpfs:
            blocks = sum(-(-size // 4096) for size in sizes) + len(entries(reference))
            for point in range(campaigns.cases):
                size = 4096 * max(2, round(blocks * (point + 0.5) / campaigns.cases))
                if not campaigns.done("disks", kind, f"tmpfs {point}"):
                    fill_disk(campaigns, kind, f"tmpfs {point}", size)
        for case, part in enumerate((0.002, 0.05, 0.3, 0.9)):
            if not campaigns.done("disks", kind, f"largest file {case}"):
                limit_files(campaigns, kind, f"largest file {case}", max(200, int(part * max(sizes))))


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


def fill_disk(campaigns, kind, case, size):
    with small_disk(campaigns.out / "disk", size) as enlarge:
        run = campaigns.out / "disk" / "run"
        ending = carry_out(campaigns.command(kind, run))
        enlarge()
        return add_full(campaigns, kind, case, size, run, ending)


def limit_files(campaigns, kind, case, size):
    run = campaigns.fresh()
    limit = (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    ending = carry_out(campaigns.command(kind, run), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    return add_full(campaigns, kind, case, size, run, ending)


def add_full(campaigns, kind, case, size, run, ending):
    fitted = ending.status == 0
    clean = ending.status == 1 and len(ending.errors) == 1 and ending.last_line == ending.errors[0]
    clean = clean and not ending.traceback
    outcome, changed = campaigns.resumed(kind, run)
    if not (fitted or clean):
        outcome = f"ended with {ending.status}, {'traceback' if ending.traceback else ending.last_line}; {outcome}"
    details = {"bytes": size, "fitted": fitted, "line": "" if fitted else ending.last_line, "changed": changed}
    return campaigns.add("disks", kind, case, outcome, **details)


def clocks(campaigns):
    """The clock goes back by a day within a run, and between its sessions."""
    for kind in campaigns.kinds:
        for case in ("within", "between"):
            if not campaigns.done("clocks", kind, case):
                turn_clock_back(campaigns, kind, case)


def turn_clock_back(campaigns, kind, case):
    _, seconds = campaigns.reference(kind)
    run = None
    if case == "within":
        run = campaigns.fresh()
        ending = carry_out(campaigns.command(kind, run), lambda: _earlier(time.time() + seconds / 2))
    else:
        while run is None:
            run = campaigns.interrupted(kind, campaigns.draws("clocks", kind).uniform(0.3, 0.7))
        ending = carry_out(campaigns.command(kind, run, "--resume"), lambda: _earlier(0))
    outcome, changed = campaigns.resumed(kind, run, ending)
    negative = []
    if outcome in ("equal", "different"):
        cost = json.loads((run / "result.json").read_text())["cost"]
        negative = [name for name, value in cost["seconds"].items() if value < 0]
        negative += ["last_session_seconds"] * (cost["last_session_seconds"] < 0)
    if negative:
        outcome = f"negative times: {negative}; {outcome}"
    return campaigns.add("clocks", kind, case, outcome, changed=changed)


def _earlier(start):
    """Turn this process's clock back by a day from a moment on; the clock that only counts up stays as it is."""
    import datetime

    import myosotis.engine.environment as environment

    real = time.time

    def turned():
        now = real()
        return now - 86400 if now >= start else now

    class Turned(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(turned(), tz)

    time.time = turned
    environment.datetime = Turned


CAMPAIGNS = {
    "control": (control, 1),
    "corruption": (corruption, 1),
    "kills": (kills, 20),
    "signals": (signals, 4),
    "disks": (disks, 10),
    "writers": (writers, 1),
    "workers": (workers, 1),
    "ranks": (ranks, 1),
    "clocks": (clocks, 1),
}
"""By name: the campaign, and how many cases of each kind it has by default."""


def table(campaigns):
    """Print the rows of all campaigns as tables."""
    for campaign in CAMPAIGNS:
        rows = [row for row in campaigns.rows if row["campaign"] == campaign]
        if not rows:
            continue
        column = "state" if campaign == "corruption" else "kind"
        outcomes = sorted({_short(row["outcome"]) for row in rows})
        print(f"\n## {campaign}\n\n| kind | cases | {' | '.join(outcomes)} |\n| --- |{' --- |' * (len(outcomes) + 1)}")
        groups = [(kind, [row for row in rows if row["kind"] == kind]) for kind in KINDS]
        if column == "state":
            groups = [
                (f"{kind}: {state}", [row for row in of_kind if row["state"] == state])
                for kind, of_kind in groups
                for state in sorted({row["state"] for row in of_kind})
            ]
        for name, group in [*groups, ("**all**", rows)]:
            if group:
                counts = Counter(_short(row["outcome"]) for row in group)
                cells = [str(counts[outcome]) for outcome in outcomes]
                print(f"| {name} | {len(group)} | {' | '.join(cells)} |")


def _short(outcome):
    return outcome if len(outcome) < 30 else f"{outcome[:27]}..."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", choices=[*CAMPAIGNS, "table"])
    parser.add_argument("--out", type=Path, required=True, help="directory of the worlds, the runs and the rows")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--cases", type=int, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tmpfs", action=argparse.BooleanOptionalAction, default=os.geteuid() == 0)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)
    campaign, cases = CAMPAIGNS.get(arguments.campaign, (table, 1))
    cases = arguments.cases or cases
    campaigns = Campaigns(arguments.out, arguments.kinds, cases, arguments.seed, arguments.tmpfs)
    if campaign is not table:
        import_everything()
    campaign(campaigns)


if __name__ == "__main__":
    main()
