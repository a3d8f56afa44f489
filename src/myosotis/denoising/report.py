"""The report of a run that trained a denoiser, and of several side by side."""

from collections.abc import Sequence

from myosotis.denoising.methods import METHODS
from myosotis.engine.run import Run
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.sections import (
    differing_settings,
    environment_section,
    limits_section,
    lineage_section,
    method_section,
)

_LIMITS = "Measured without adapting the model to noisy symbols, which `myosotis denoise` does by default."


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``denoise-train``.
    """
    result, card = run.result(), METHODS.card("supervised")
    rows = [
        Row(row["noise"], [f"{row['raw']:.4f}", f"{row['error']:.4f}", f"{row['error'] / row['raw']:.3f}"])
        for row in result["measured"]
        if row["raw"]
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
                f"With noise {first['noise']} the share of wrong held-out symbols goes from {first['raw']:.4f} to "
                f"{first['error']:.4f}.",
                first["error"] < first["raw"],
            ),
            Verdict("How sure are we?", f"{result['symbols']['held_out']:,} symbols were held out; one seed."),
        ],
        table=Table("Share of wrong held-out symbols", ["Noisy", "Denoised", "Denoised by noisy"], rows, "Noise"),
        sections=[
            method_section([card], run.settings()),
            lineage_section({"Model that went out": result["lineage"]["model_out"]}, {}),
            environment_section(run),
            limits_section(_LIMITS),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two, all of the kind ``denoise-train``.
    """
    results = [run.result() for run in runs]
    noises = list(dict.fromkeys(row["noise"] for result in results for row in result["measured"]))
    rows = []
    for result in results:
        measured = {row["noise"]: row for row in result["measured"]}
        cells = [
            f"{measured[noise]['error'] / measured[noise]['raw']:.3f}"
            if noise in measured and measured[noise]["raw"]
            else "-"
            for noise in noises
        ]
        rows.append(Row(f"{result['name']}, seed {result['seed']}", cells))
    return Document(
        title="Denoisers side by side",
        subtitle=f"{len(runs)} runs",
        verdicts=[
            Verdict(result["name"], f"Trained on {result['symbols']['train']:,} clean symbols.") for result in results
        ],
        table=Table("Wrong symbols after denoising by those before", noises, rows, "Run"),
        sections=[
            differing_settings(runs, [run.path.name for run in runs]),
            limits_section(_LIMITS),
        ],
    )
