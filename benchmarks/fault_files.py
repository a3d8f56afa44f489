"""The campaign of damaged files: every file of a run, damaged in every way."""

import shutil
from pathlib import Path

from fault_runs import carry_out, differences, entries, outcome_of, slug

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
