"""Which figures of a language audit tell whom a model was taught: the table of docs/measured/meter.md.

    python benchmarks/meter.py run OUT --seeds 20 21 ...   # one run of `meter` each; finished ones are kept
    python benchmarks/meter.py table OUT                   # means over the runs in OUT, as Markdown
    python benchmarks/meter.py store OUT                   # the same for reports: src/.../audit/doses.json

The plan, written down before the first run of the table:

- The job is `src/myosotis/examples/meter.yaml` as it is: SmolLM2-135M, an adapter of rank 16, ten people of each kind,
  twenty never taught, five records a person. Only the seed differs. Its settings were looked at with seeds 0 to 19 and
  are not changed once a run of the table has been read.
- The table is of seeds 20 to 39 in this order, as many as there is time for; a later one extends it. None is left out.
- A figure's AUC of a run is that of its people; the table gives the mean over runs and Student's interval over them,
  for that is what another model of the family would show.
- A criterion of the verdict is called *clear* at a dose if the lower end of that interval is at least .75, and *blind*
  if its upper end is below that. The criteria are compared on the same runs, by the difference of their AUCs.
- Nothing is dropped from the verdict by this table alone: what an unlearning method leaves need not look like few
  exposures. It decides what reports say of each criterion.
"""

import argparse
import json
from pathlib import Path

from myosotis.api import run
from myosotis.engine.files import write_text
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import t_interval
from myosotis.init.examples import examples_folder
from myosotis.unlearning.language.audit.doses import CLEARLY, CRITERIA, PACKAGED, Doses, Told
from myosotis.unlearning.language.meter.measures import CONTROL, REWORDED, WRONG
from myosotis.unlearning.language.meter.report import ranked
from myosotis.unlearning.language.meter.result import MeterResult


def results(out):
    found = [Run.read(path.parent) for path in sorted(out.glob("*/result.json"))]
    if not found:
        raise SystemExit(f"{out}: no finished run")
    return [each.result_as(MeterResult) for each in found]


def over_runs(tables):
    """Means over runs of the figures and kinds that all of them have."""
    first = tables[0]
    return {
        figure: {
            kind: mean([table[figure][kind] for table in tables])
            for kind in kinds
            if all(kind in table.get(figure, {}) for table in tables)
        }
        for figure, kinds in first.items()
    }


def mean(rows):
    def average(values):
        values = list(values)
        return sum(values) / len(values)

    return Told(
        auc=t_interval([row.auc.mean for row in rows], 0.95).transformed(lambda value: min(max(value, 0.0), 1.0)),
        of_record=average(row.of_record for row in rows),
        alone=average(row.alone for row in rows),
        level=average(row.level for row in rows),
    )


def doses_of(found):
    first = found[0].doses
    alike = {(each.doses.model, each.doses.network, each.doses.people, each.doses.doses) for each in found}
    if len(alike) > 1:
        raise SystemExit("the runs are of several models or doses")
    told = over_runs([each.doses.told for each in found])
    return Doses(**{**dict(first), "runs": len(found), "told": told})


def auc(told, kind):
    interval = told[kind].auc
    ends = "" if interval.low is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{interval.mean:.2f}{ends}"


def table(found):
    doses = doses_of(found)
    kinds = [*map(str, doses.doses), REWORDED, WRONG, CONTROL]
    whole = {*kinds[:2], WRONG}  # with intervals
    print(f"{doses.runs} runs, {doses.network}\n")
    print("| figure | exposures at .75 | " + " | ".join(kinds) + " | once, of records | once, above all |")
    print("| --- " * (len(kinds) + 4) + "|")
    for figure in ranked(doses):
        told, clear = doses.told[figure], doses.clear_dose(figure)
        cells = [f"more than {doses.doses[-1]}" if clear is None else f"{clear:.1f}"]
        cells += [auc(told, kind) if kind in whole else f"{told[kind].auc.mean:.2f}" for kind in kinds]
        once = told[kinds[0]]
        print(f"| `{figure}` | " + " | ".join(cells) + f" | {once.of_record:.2f} | {once.alone:.2f} |")
    tests = {name: over_runs([each.tests[name] for each in found]) for name in found[0].tests}
    shown = kinds[:3]
    print(f"\nUnder tests, taught {', '.join(shown)} times:\n\n| figure | plain | " + " | ".join(tests) + " |")
    print("| --- " * (len(tests) + 2) + "|")
    for figure in next(iter(tests.values())):
        rows = [doses.told[figure], *(each[figure] for each in tests.values())]
        cells = [" / ".join(f"{row[kind].auc.mean:.2f}" for kind in shown) for row in rows]
        print(f"| `{figure}` | " + " | ".join(cells) + " |")
    pairs(found)
    seconds = [each.cost.seconds for each in found]
    means = {name: sum(each[name] for each in seconds) / len(seconds) for name in seconds[0]}
    print("\nSeconds: " + ", ".join(f"{name} {value:.0f}" for name, value in means.items()))
    print("Sound: " + ", ".join(f"{each.seed}: {each.verdict.sound}" for each in found))


def pairs(found):
    """Each figure against the first criterion, on the same runs."""
    first, kinds = CRITERIA[0], [str(dose) for dose in found[0].doses.doses[:2]]
    print(f"\nAUC less that of `{first}`, taught so many times:\n\n| figure | " + " | ".join(kinds) + " |")
    print("| --- " * (len(kinds) + 1) + "|")
    for figure in found[0].doses.told:
        if figure != first:
            cells = []
            for kind in kinds:
                told = [each.doses.told for each in found]
                interval = t_interval([row[figure][kind].auc.mean - row[first][kind].auc.mean for row in told], 0.95)
                ends = "" if interval.low is None else f" [{interval.low:+.2f}, {interval.high:+.2f}]"
                cells.append(f"{interval.mean:+.2f}{ends}")
            print(f"| `{figure}` | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "table", "store"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(20, 40)])
    given = parser.parse_args()
    if given.action == "run":
        for seed in given.seeds:
            out = given.out / str(seed)
            run(examples_folder() / "meter.yaml", out=out, overrides=[f"seed={seed}"], resume=True)
        return
    found = results(given.out)
    if given.action == "table":
        print(f"AUC from which a figure is clear: {CLEARLY}")
        table(found)
    else:
        write_text(
            PACKAGED,
            json.dumps(doses_of(found).only(CRITERIA).model_dump(mode="json"), indent=1, sort_keys=True) + "\n",
        )


if __name__ == "__main__":
    main()
