"""``myosotis methods``: every method with its paper and what it needs."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the methods by job: paper, data that they read, memory, and what they are for."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from myosotis.continual.classification.methods import METHODS as CLASSES
    from myosotis.continual.segmentation.methods import METHODS as SEGMENTS
    from myosotis.continual.selfsupervised.bases import BASES
    from myosotis.continual.selfsupervised.methods import METHODS as REPRESENTATIONS
    from myosotis.denoising.methods import METHODS as DENOISERS
    from myosotis.pretraining.maskers import MASKERS
    from myosotis.pretraining.objectives import OBJECTIVES
    from myosotis.unlearning.classifier.methods import METHODS as CLASSIFIER
    from myosotis.unlearning.language.methods import METHODS as LANGUAGE

    jobs = {
        "unlearn language": [method.card for method in LANGUAGE.values()],
        "unlearn classifier": [method.card for method in CLASSIFIER.values()],
        "learn classes": [method.card for method in CLASSES.values()],
        "learn segments": [method.card for method in SEGMENTS.values()],
        "learn representations": [method.card for method in REPRESENTATIONS.values()],
        "learn representations, base": [base.card for base in BASES.values()],
        "pretrain, objective": list(OBJECTIVES.values()),
        "denoise": list(DENOISERS.values()),
        "pretrain, masker": [masker.card for masker in MASKERS.values()],
    }
    if as_json:
        typer.echo(json.dumps({job: [asdict(card) for card in cards] for job, cards in jobs.items()}, indent=2))
        return
    console = Console(highlight=False)
    for job, cards in jobs.items():
        table = Table(title=f"myosotis {job}", title_justify="left", show_lines=True)
        for column in ("method", "title and paper", "reads", "memory beside training", "for"):
            table.add_column(column)
        for card in cards:
            row = (card.name, f"{card.title}\n{card.paper}", card.reads, card.memory, card.purpose)
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
