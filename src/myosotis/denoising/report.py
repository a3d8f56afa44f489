"""The report of a run that trained a denoiser, and of several side by side."""

from collections.abc import Sequence

from myosotis.denoising.methods import METHODS
from myosotis.engine.run import Run
from myosotis.report.document import Document, Row, Section, Table, Verdict
from myosotis.report.sections import differing_settings, environment_section, setting_rows

KIND = "denoise-train"
"""What ``result.json`` calls runs of this job."""

_LIMITS = (
    "Measured without adapting the model to noisy symbols, which is what it is made for: `myosotis denoise` does so "
    "unless told otherwise."
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Of the kind ``denoise-train``.
    """
    result, card = run.result(), METHODS.card("supervised")
    rows = [
        Row(one["noise"], [f"{one['raw']:.4f}", f"{one['error']:.4f}", f"{one['error'] / one['raw']:.3f}"])
        for one in result["measured"]
        if one["raw"]
    ]
    first = result["measured"][0]
    return Document(
        title=f"A denoiser: {result['name']}",
        subtitle=(
            f"{result['symbols']['train']:,} clean symbols of {len(result['names'])} kinds, contexts of "
            f"{result['context']} symbols, head {result['head']}, seed {result['seed']}."
        ),
        verdicts=[
            Verdict(
                "Has it learnt?",
                f"With noise {first['noise']} it leaves {first['error']:.4f} of {first['raw']:.4f} wrong symbols in "
                "what was held out.",
                first["error"] < first["raw"],
            ),
            Verdict("How sure are we?", f"{result['symbols']['held_out']:,} symbols were held out; one seed."),
        ],
        table=Table("Share of wrong symbols in what was held out", ["Raw", "Denoised", "By raw"], rows, "Noise"),
        sections=[
            Section(
                "What was done",
                [f"{card.title}. ({card.paper}.)"],
                [Table("Every setting", ["Value"], setting_rows(run.settings()), "Setting")],
            ),
            environment_section(run),
            Section("What this does not show", [_LIMITS]),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two, all of the kind ``denoise-train``.
    """
    results = [run.result() for run in runs]
    noises = list(dict.fromkeys(one["noise"] for result in results for one in result["measured"]))
    rows = []
    for result in results:
        known = {one["noise"]: one for one in result["measured"]}
        cells = [
            f"{known[noise]['error'] / known[noise]['raw']:.3f}" if noise in known and known[noise]["raw"] else "-"
            for noise in noises
        ]
        rows.append(Row(f"{result['name']}, seed {result['seed']}", cells))
    return Document(
        title="Denoisers side by side",
        subtitle=f"{len(runs)} runs",
        verdicts=[
            Verdict(result["name"], f"Trained on {result['symbols']['train']:,} clean symbols.") for result in results
        ],
        table=Table("Wrong symbols left, by raw ones", noises, rows, "Run"),
        sections=[
            differing_settings(runs, [run.path.name for run in runs]),
            Section("What this does not show", [_LIMITS]),
        ],
    )
