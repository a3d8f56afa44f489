"""The campaigns with several processes: second writers, workers and ranks that die."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil

from fault_runs import LIMIT, Command, Ending, carry_out, differences, outcome_of, slug


def writers(campaigns):
    """A second command at a run that another one works at is refused; whatever a dead one left is taken over."""
    for kind in campaigns.kinds:
        for case in ("--resume", "--overwrite", "fresh start"):
            if not campaigns.done("writers", kind, case):
                second_writer(campaigns, kind, case)
    for case in ("dead process", "number used again", "torn", "empty", "other host"):
        if not campaigns.done("writers", "learn-classes", case):
            old_lock(campaigns, "learn-classes", case)


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
    for kind in ("protocol", "pretrain-sweep"):
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
    "unlearn-language",
    "unlearn-classifier",
    "learn-classes",
    "learn-segments",
    "learn-representations",
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
