"""The report of a run that trained a denoiser, and of several side by side."""

from collections.abc import Sequence

from myosotis.denoising.methods import METHODS
from myosotis.denoising.result import DenoiserResult
from myosotis.engine.run import Run
from myosotis.report.comparison import side_by_side
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.groups import run_names
from myosotis.report.learning import learnt_verdict
from myosotis.report.sections import (
    environment_section,
    lineage_section,
    method_section,
    run_facts,
)

_LIMITS = ("Measured without adapting the model to noisy symbols, which `myosotis denoise` does by default.",)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``denoise-train``.
    """
    result, card = run.result_as(DenoiserResult), METHODS.card("supervised")
    rows = [
        Row(row.noise, [f"{row.raw:.4f}", f"{row.error:.4f}", f"{row.error / row.raw:.3f}"])
        for row in result.measured
        if row.raw
    ]
    return Document(
        title=f"A denoiser: {result.name}",
        subtitle=(
            f"{result.symbols.train:,} clean symbols of {len(result.names)} kinds, contexts of "
            f"{result.context} symbols, head {result.head}, seed {result.seed}."
        ),
        facts=run_facts(run, card.title, hashes=[None, result.lineage.model_out]),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        table=Table("Share of wrong held-out symbols", ["Noisy", "Denoised", "Relative to noisy"], rows, "Noise"),
        sections=[
            method_section([card], run.settings()),
            lineage_section({"Model that went out": result.lineage.model_out}, {}),
            environment_section(run),
        ],
    )


def _verdicts(result: DenoiserResult) -> list[Verdict]:
    first = result.measured[0]
    return [
        learnt_verdict(
            result.verdict,
            f"With noise {first.noise} the share of wrong held-out symbols goes from {first.raw:.4f} to "
            f"{first.error:.4f}.",
        ),
        Verdict(
            "How sure are we?",
            f"{result.symbols.held_out:,} symbols were held out, which the interval takes as independent; one seed.",
        ),
    ]


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two, all of the kind ``denoise-train``.
    """
    results = [run.result_as(DenoiserResult) for run in runs]
    verdicts = [_verdicts(result) for result in results]
    noises = list(dict.fromkeys(row.noise for result in results for row in result.measured))
    rows = []
    for name, result in zip(run_names(runs), results, strict=True):
        relative = {row.noise: row.error / row.raw for row in result.measured if row.raw}
        rows.append(Row(name, [f"{relative[noise]:.3f}" if noise in relative else "-" for noise in noises]))
    return side_by_side(
        runs,
        [METHODS.card("supervised").title] * len(runs),
        verdicts,
        title="Denoisers side by side",
        subtitle=f"{len(runs)} runs",
        limits=_LIMITS,
        table=Table("Wrong symbols after denoising, relative to before", noises, rows, "Run"),
    )
