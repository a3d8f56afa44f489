"""How long ``myosotis check`` says that jobs take, beside how long they take.

Each job is one that ``myosotis init`` writes for data of the package, or a configuration that is named. The machine
should be idle.

    python benchmarks/forecast.py --work FOLDER [CONFIG ...]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from myosotis.api import prepared
from myosotis.engine.errors import InputError
from myosotis.engine.forecast import job_seconds, phase_seconds
from myosotis.init.drafts import DRAFTS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="new folder")
    parser.add_argument("configs", type=Path, nargs="*", help="further configurations")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True)
    configs = []
    for job, draft in DRAFTS.items():
        try:
            text = draft([], arguments.work).text
        except InputError:
            continue  # it starts from data that the package does not have
        configs.append(arguments.work / f"{job}.yaml")
        configs[-1].write_text(text)
    print("| configuration | forecast, seconds | took | |\n| --- | --- | --- | --- |")
    for config in [*configs, *arguments.configs]:
        out = arguments.work / "runs" / config.stem
        preparing = timed("check", config, "--out", out, "--no-time")
        _, _, job = prepared(config, out)
        least, most = job_seconds([(phase, phase_seconds(phase)) for phase in job.phases()], preparing)
        took = timed("run", config, "--out", out)
        held = "" if least <= took <= most else "missed"
        print(f"| `{config.stem}` | {least:.1f} to {most:.1f} | {took:.1f} | {held} |", flush=True)


def timed(*words):
    began = time.monotonic()
    command = [sys.executable, "-m", "myosotis", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command line
    return time.monotonic() - began


if __name__ == "__main__":
    main()
