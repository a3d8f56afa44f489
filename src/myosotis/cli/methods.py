"""``myosotis methods``: every method with its paper and what it needs."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from myosotis.cli.kinds import JOBS


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the methods by job: paper, data that they read, memory, and what they are for."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    tables = {title: table for job in JOBS.values() for title, table in job.method_tables().items()}
    jobs = {title: [kind.card for kind in table.values()] for title, table in tables.items()}
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
