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
import atexit
import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parent))
import fault_jobs

KINDS = tuple(fault_jobs.JOBS)
LIMIT = 120
"""Seconds after which a command hangs."""
HINT = "; --resume continues the run"
TIMES = {"peak_memory_bytes", "share_of_retraining", "started", "finished"}
SALTED = {"data", "fingerprints", "fingerprint"}
OF_RESUMED = {"checkpoints/training-resumed.json"}
"""What a run that was continued has besides: the note that the seconds of its training are not known."""


def import_everything():
    """Import what the commands import, so that a fork does not have to."""
    from myosotis.cli.kinds import JOBS

    for job in JOBS.values():
        job.schema()
        job.job_class()
        job.report_module()
    for name in ("sklearn.linear_model", "myosotis.report.card", "myosotis.report.render"):
        importlib.import_module(name)
    importlib.import_module("optuna").storages.RDBStorage  # noqa: B018 - imported when it is asked for


@dataclass
class Ending:
    """How a command ended: its exit status (negative: by a signal, None: it hung), what it printed, and how long."""

    status: int | None
    printed: str
    seconds: float

    @property
    def traceback(self):
        return "Traceback (most recent call last)" in self.printed

    @property
    def last_line(self):
        return (self.printed.strip().splitlines() or [""])[-1]

    @property
    def errors(self):
        return [line for line in self.printed.splitlines() if line.startswith("error: ")]


class Command:
    """A command in a fork of this process, with a session of its own.

    Args:
        arguments: Arguments of the command line.
        before: Called in the fork before the command.
    """

    def __init__(self, arguments, before=None):
        self._pipe, write = os.pipe()
        os.set_blocking(self._pipe, False)
        self._printed = b""
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _work([str(argument) for argument in arguments], write, before)
        os.close(write)

    def wait(self, seconds=LIMIT):
        """The ending; None if the command still works after these seconds."""
        deadline = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._read()
            if ended:
                os.close(self._pipe)
                return Ending(os.waitstatus_to_exitcode(status), self._text(), time.monotonic() - self._started)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)

    def send(self, number):
        """Send a signal to the command and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self):
        self.send(signal.SIGKILL)
        return self.wait()

    def ending(self):
        """The ending; a command that hangs is killed."""
        ending = self.wait()
        if ending is None:
            self.kill()
            ending = Ending(None, self._text(), LIMIT)
        return ending

    def _read(self):
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self._pipe, 65536):
                self._printed += content

    def _text(self):
        return self._printed.decode(errors="replace")


def _work(arguments, output, before):
    """Carry out a command in a fork as the interpreter would: its exit status, or a traceback and status 1."""
    os.setsid()
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(os.dup(output), "w", buffering=1)
        sys.stderr = os.fdopen(os.dup(output), "w", buffering=1)
        atexit._clear()
        if before is not None:
            before()
        sys.argv = ["myosotis", *arguments]
        from myosotis.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        os._exit(status)


def carry_out(arguments, before=None):
    return Command(arguments, before).ending()


def comparable(value):
    """A result without times, memory, and what depends on the salt of the run."""
    if isinstance(value, dict):
        names = [name for name in value if not name.endswith("seconds") and name not in TIMES | SALTED]
        return {name: comparable(value[name]) for name in names}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def differences(before, after, key=""):
    """The keys in which two JSON values differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(set(before) | set(after))
        return [line for name in names for line in differences(before.get(name), after.get(name), f"{key}.{name}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [line for index, pair in enumerate(pairs) for line in differences(*pair, f"{key}[{index}]")]
    return [] if before == after else [f"{key}: {str(before)[:50]} became {str(after)[:50]}"]


def outcome_of(run):
    """What is compared of a run: its result, its events, and the SHA-256 of every file of weights."""
    files = [path for path in sorted(run.rglob("*")) if path.suffix in (".safetensors", ".bin", ".pt", ".npz")]
    return {
        "result": comparable(json.loads((run / "result.json").read_text())),
        # A resumed run logs some of them again.
        "events": sorted({json.dumps(comparable(event), sort_keys=True) for event in events_of(run)}),
        "weights": {
            str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if "checkpoints" not in path.relative_to(run).parts
        },
    }


def events_of(run):
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def entries(run):
    return {str(path.relative_to(run)) for path in run.rglob("*")}


def slug(kind):
    return kind.replace(",", "").replace(" ", "-")


class Campaigns:
    """The world, the uninterrupted runs, and the rows of all campaigns in a directory."""

    def __init__(self, out, kinds=KINDS, cases=1, seed=0, tmpfs=False):
        self.out, self.kinds, self.cases, self.seed, self.tmpfs = out.resolve(), kinds, cases, seed, tmpfs
        self.world = self.out / "world"
        self.work = self.out / "work"
        self.rows_file = self.out / "rows.jsonl"
        self.out.mkdir(parents=True, exist_ok=True)
        if not self.world.exists():
            fault_jobs.write_world(self.out / "world.partial")
            (self.out / "world.partial").rename(self.world)
        lines = self.rows_file.read_text().splitlines() if self.rows_file.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def command(self, kind, out, *options):
        return fault_jobs.command(self.world, kind, out, *options)

    def reference(self, kind):
        """An uninterrupted run of a kind, and the seconds that it took."""
        folder = self.out / "uninterrupted" / slug(kind)
        seconds = folder / "seconds.txt"
        if not seconds.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            ending = carry_out(self.command(kind, folder / "run"))
            if ending.status != 0:
                raise RuntimeError(f"{kind}: the uninterrupted run failed: {ending.printed}")
            seconds.write_text(str(ending.seconds))
        return folder / "run", float(seconds.read_text())

    def fresh(self, name="run"):
        """The path of a run that is not there."""
        self.work.mkdir(exist_ok=True)
        for path in self.work.iterdir():
            if path.name in (name, f".{name}.lock") or path.name.startswith(f".{name}."):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self.work / name

    def done(self, campaign, kind, case):
        return any((row["campaign"], row["kind"], row["case"]) == (campaign, kind, case) for row in self.rows)

    def add(self, campaign, kind, case, outcome, **details):
        row = {"campaign": campaign, "kind": kind, "case": case, "outcome": outcome, **details}
        self.rows.append(row)
        with self.rows_file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"{campaign} | {kind} | {case} | {outcome} | {details}", flush=True)
        return row

    def draws(self, *purpose):
        """Random numbers of a case, whatever other cases there are."""
        return random.Random("/".join(map(str, (self.seed, *purpose))))

    def resumed(self, kind, run, ending=None):
        """Continue a run; return the outcome in a word, and what differs from the uninterrupted one."""
        ending = ending or carry_out(self.command(kind, run, "--resume"))
        if ending.status != 0:
            why = "hang" if ending.status is None else "traceback" if ending.traceback else "refused"
            return f"not resumed: {why}", ending.printed.splitlines()[-3:]
        reference, _ = self.reference(kind)
        changed = differences(outcome_of(reference), outcome_of(run))
        changed += [f"{name}: only here" for name in sorted(entries(run) - entries(reference) - OF_RESUMED)]
        changed += [f"{name}: is missing" for name in sorted(entries(reference) - entries(run))]
        changed += [f"{path.name}: is left" for path in run.parent.glob(f".{run.name}.*")]
        return ("different" if changed else "equal"), changed[:4]

    def interrupted(self, kind, share):
        """A run that was killed after a share of its time and has a state to continue from; None if it has ended."""
        _, seconds = self.reference(kind)
        run = self.fresh()
        command = Command(self.command(kind, run))
        if command.wait(share * seconds) is not None:
            return None
        command.kill()
        return run if run.exists() and not (run / "result.json").exists() else None


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


FLIPS_OF_STUDY = 40
"""Of a file of a hundred kilobytes most bits are unused, so that one flip says nothing."""
DAMAGES = ("empty", "half", "flipped bit", "random bytes", "[1, 2]", "deleted")


def damage(path, how, draws):
    """Damage a file; return whether that changed it."""
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
        return True
    new = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "random bytes": draws.randbytes(max(8, min(len(content), 200))),
        "[1, 2]": b"[1, 2]\n",
    }.get(how)
    if how.startswith("flipped bit") and content:
        position = draws.randrange(len(content))
        flipped = bytes([content[position] ^ (1 << draws.randrange(8))])
        new = content[:position] + flipped + content[position + 1 :]
    if new is None or new == content:
        return False
    path.write_bytes(new)
    return True


def corruption(campaigns):
    """Every file of a killed run, and of a finished one, damaged in every way: right, refused by name, or worse."""
    for kind in campaigns.kinds:
        corrupt_killed(campaigns, kind)
        corrupt_finished(campaigns, kind)


def corrupt_killed(campaigns, kind, few=False):
    source = campaigns.out / "killed" / slug(kind) / "run"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        draws = campaigns.draws("corruption", kind)
        while (run := campaigns.interrupted(kind, draws.uniform(0.35, 0.75))) is None or not has_state(run):
            pass
        shutil.copytree(run, source)
    corrupt_files(campaigns, kind, "killed, --resume", source, few)


def corrupt_files(campaigns, kind, state, source, few):
    """Damage the files of a run one by one: what a report reads in every way, everything else in two ways each."""
    for name in sorted(entries(source)):
        report = state == "finished, report"
        if not (source / name).is_file() or (report and "/" in name):
            continue
        draws = campaigns.draws("corruption", kind, state, name)
        ways = [how for how in DAMAGES if how != "[1, 2]" or name.endswith(".json")]
        flips = 1 if few or name != "study.db" or report else FLIPS_OF_STUDY
        more = [f"flipped bit {number}" for number in range(1, flips)]
        for how in [*(ways if report and not few else draws.sample(ways, 2)), *more]:
            corrupt(campaigns, kind, state, source, name, how)


def has_state(run):
    """Whether a killed run has more than inputs below its checkpoints, or a study."""
    saved = [path for path in (run / "checkpoints").rglob("*") if path.is_file() and path.name != "inputs.json"]
    return bool(saved) or (run / "study.db").exists()


def corrupt_finished(campaigns, kind, few=False):
    source, _ = campaigns.reference(kind)
    for state in ("finished, report", "finished, --resume"):
        corrupt_files(campaigns, kind, state, source, few)


def corrupt(campaigns, kind, state, source, name, how):
    case = f"{state}: {name}: {how}"
    if campaigns.done("corruption", kind, case):
        return None
    run = campaigns.fresh()
    shutil.copytree(source, run)
    if not damage(run / name, how, campaigns.draws("corruption", kind, state, name, how)):
        return None
    arguments = ["report", run] if state.endswith("report") else campaigns.command(kind, run, "--resume")
    ending = carry_out(arguments)
    changed = []
    if ending.status is None:
        outcome = "hang"
    elif ending.traceback:
        outcome = "traceback"
    elif ending.status == 0:
        changed = changed_by_damage(campaigns, kind, state, run, source)
        outcome = "silent" if changed else "right"
    else:
        one_line = len(ending.errors) == 1 and ending.last_line == ending.errors[0]
        named = any(str(run / part) in ending.last_line for part in (name, *map(str, Path(name).parents)))
        outcome = "refused" if one_line and named else "not one line" if not one_line else "refused, not named"
    details = {"state": state, "file": name, "damage": how, "line": ending.last_line[-200:], "changed": changed[:4]}
    return campaigns.add("corruption", kind, case, outcome, **details)


def changed_by_damage(campaigns, kind, state, run, source):
    """What a command that ended well has made different because of a damaged file."""
    if state.startswith("killed"):
        return differences(outcome_of(campaigns.reference(kind)[0]), outcome_of(run))
    page = source.parent / "report.html"
    if not page.exists():  # written again from the undamaged run, under the name that the copies have
        copy = campaigns.fresh("pristine") / "run"
        shutil.copytree(source, copy)
        ending = carry_out(["report", copy])
        if ending.status != 0:
            raise RuntimeError(ending.printed)
        shutil.copy(copy / "report.html", page)
    changed = []
    recomputed = (run / "result.json").read_bytes() != (source / "result.json").read_bytes()
    if not recomputed and (run / "report.html").read_bytes() != page.read_bytes():
        changed.append("report.html differs")
    if state.endswith("--resume"):
        changed += differences(outcome_of(source), outcome_of(run))
    elif recomputed:
        changed.append("result.json differs")
    return changed


def writers(campaigns):
    """A second command at a run that another one works at is refused; whatever a dead one left is taken over."""
    for kind in campaigns.kinds:
        for case in ("--resume", "--overwrite", "fresh start"):
            if not campaigns.done("writers", kind, case):
                second_writer(campaigns, kind, case)
    for case in ("dead process", "number used again", "torn", "empty", "other host"):
        if not campaigns.done("writers", "learn classes", case):
            old_lock(campaigns, "learn classes", case)


def second_writer(campaigns, kind, case):
    run = campaigns.fresh() if case == "fresh start" else None
    while run is None:
        run = campaigns.interrupted(kind, campaigns.draws("writers", kind, case).uniform(0.3, 0.6))
    options = ("--resume",) if case != "fresh start" else ()
    first = Command(campaigns.command(kind, run, *options))
    deadline = time.monotonic() + 20
    while not _locked(run) and time.monotonic() < deadline:
        time.sleep(0.002)
    second = carry_out(campaigns.command(kind, run, *((case,) if case.startswith("--") else ())))
    named = f"process {first.pid} on {socket.gethostname()}" in second.last_line
    refused = second.status == 2 and len(second.errors) == 1 and named and not second.traceback
    outcome, changed = campaigns.resumed(kind, run, first.ending())
    if not refused:
        outcome = f"second ended with {second.status}: {second.last_line[-120:]}; {outcome}"
    return campaigns.add("writers", kind, case, outcome, changed=changed, line=second.last_line)


def _locked(run):
    """Whether a command has written itself into the lock of a run."""
    file = run.with_name(f".{run.name}.lock")
    with contextlib.suppress(FileNotFoundError), file.open("rb+") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return bool(file.read_bytes())
    return False


def old_lock(campaigns, kind, case):
    """A lock file that a process left behind: taken over, unless its host is another one."""
    run = None
    while run is None:
        run = campaigns.interrupted(kind, campaigns.draws("writers", kind, case).uniform(0.3, 0.6))
    file = run.with_name(f".{run.name}.lock")
    child = subprocess.Popen(["true"])  # noqa: S607
    child.wait()
    owner = {"host": socket.gethostname(), "pid": child.pid, "started": time.time() - 60, "locked": time.time() - 50}
    if case == "number used again":
        owner |= {"pid": os.getpid(), "started": psutil.Process().create_time() - 3600}
    if case == "other host":
        owner["host"] = "elsewhere"
    text = json.dumps(owner)
    file.write_text({"torn": text[: len(text) // 2], "empty": ""}.get(case, text))
    ending = carry_out(campaigns.command(kind, run, "--resume"))
    if case == "other host":
        named = str(file) in ending.last_line and "elsewhere" in ending.last_line
        refused = ending.status == 2 and len(ending.errors) == 1 and named
        file.unlink()
        ending = None if refused else ending
    outcome, changed = campaigns.resumed(kind, run, ending)
    return campaigns.add("writers", kind, case, outcome, changed=changed)


def started(arguments, launcher=()):
    """A command as a user starts it, in a session of its own."""
    words = [sys.executable, *launcher, "-m", "myosotis", *map(str, arguments)]
    return subprocess.Popen(  # noqa: S603
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(process, seconds=LIMIT):
    """The ending of a started command; one that hangs is killed with its session."""
    begun = time.monotonic()
    try:
        printed = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Ending(None, process.communicate()[0], seconds)
    return Ending(process.returncode, printed, time.monotonic() - begun)


def descendants(process, chosen):
    """The processes below a started command that are chosen, and alive."""
    with contextlib.suppress(psutil.Error):
        return [child for child in psutil.Process(process.pid).children(recursive=True) if _is(child, chosen)]
    return []


def _is(child, chosen):
    with contextlib.suppress(psutil.Error):
        return child.status() != psutil.STATUS_ZOMBIE and chosen(child)
    return False


def _until(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _worker(child):
    return any("spawn_main" in word for word in child.cmdline())


def workers(campaigns):
    """A worker of a protocol, or of a sweep, is killed: the driver goes on. A driver is killed: its workers go."""
    for kind in ("protocol", "pretrain sweep"):
        if kind in campaigns.kinds:
            for case in ("one worker", "every worker", "the driver"):
                if not campaigns.done("workers", kind, case):
                    kill_workers(campaigns, kind, case)


def kill_workers(campaigns, kind, case):
    run = campaigns.fresh()
    arguments = campaigns.command(kind, run, "--set", "executor.workers=2")
    process = started(arguments)
    events = run / "metrics.jsonl"
    details = {}
    if case == "every worker":
        deadline, killed = time.monotonic() + LIMIT, set()
        while process.poll() is None and time.monotonic() < deadline:
            for child in descendants(process, _worker):
                with contextlib.suppress(psutil.Error):
                    if child.pid not in killed and time.time() - child.create_time() > 0.5:
                        child.kill()
                        killed.add(child.pid)
            time.sleep(0.05)
        ending = ended(process)
        details = {"killed": len(killed), "line": ending.last_line[-200:]}
        clean = ending.status == 1 and len(ending.errors) == 1 and not ending.traceback
    else:
        _until(lambda: events.exists() and len(descendants(process, _worker)) == 2, process)
        at_work = descendants(process, _worker)
        victim = at_work[0] if case == "one worker" else psutil.Process(process.pid)
        victim.kill()
        ending = ended(process)
        clean = ending.status == (0 if case == "one worker" else -signal.SIGKILL) and not ending.traceback
        if case == "the driver":
            _, alive = psutil.wait_procs(at_work, timeout=30)
            clean = clean and not alive
    resumed = started([*arguments, "--resume"])
    outcome, changed = campaigns.resumed(kind, run, ended(resumed))
    if not clean:
        outcome = f"ended with {ending.status}: {ending.last_line[-120:]}; {outcome}"
    return campaigns.add("workers", kind, case, outcome, changed=changed, **details)


RANKS = (
    "unlearn language",
    "unlearn classifier",
    "learn classes",
    "learn segments",
    "learn representations",
    "pretrain",
)
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def ranks(campaigns):
    """One of two ranks is killed: the other one ends within a minute, with a message; then --resume with two."""
    for kind in RANKS:
        if kind in campaigns.kinds:
            for victim in (0, 1):
                if not campaigns.done("ranks", kind, victim):
                    kill_rank(campaigns, kind, victim)


def kill_rank(campaigns, kind, victim):
    complete = campaigns.out / "uninterrupted-by-two" / slug(kind) / "run"
    if not (complete / "result.json").exists():
        ending = ended(started(campaigns.command(kind, complete), LAUNCHER))
        if ending.status != 0:
            raise RuntimeError(ending.printed)
    run = campaigns.fresh()
    process = started(campaigns.command(kind, run), LAUNCHER)
    _until(lambda: (run / "metrics.jsonl").exists(), process)
    at_work = descendants(process, lambda child: "LOCAL_RANK" in child.environ() and "myosotis" in child.cmdline())
    next(child for child in at_work if child.environ()["LOCAL_RANK"] == str(victim)).kill()
    ending = ended(process, 60)
    _, alive = psutil.wait_procs(at_work, timeout=5)
    clean = ending.status not in (0, None) and not alive
    messages = [line for line in ending.printed.splitlines() if line.startswith(("error: ", "terminated"))]
    resumed = ended(started(campaigns.command(kind, run, "--resume"), LAUNCHER))
    if resumed.status != 0:
        outcome, changed = "not resumed", resumed.printed.splitlines()[-3:]
    else:
        changed = differences(outcome_of(complete), outcome_of(run))[:4]
        outcome = "different" if changed else "equal"
    if not clean:
        outcome = f"ended with {ending.status}, {len(alive)} alive; {outcome}"
    details = {"seconds": round(ending.seconds, 1), "messages": messages[:2], "changed": changed}
    return campaigns.add("ranks", kind, victim, outcome, traceback=ending.traceback, **details)


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
