"""What the campaigns of ``faults.py`` share: commands as forks of one process, and runs that are compared."""

import atexit
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass

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
    from myosotis.jobs import JOBS

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
