"""``myosotis ledger``, continued: what others are given."""

from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.ledger import Folder, Key, ledger

__all__ = ["ledger"]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


@ledger.command("export")
def export_model(
    directory: Folder,
    cyclonedx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a CycloneDX 1.6 bill of materials, in JSON.")
    ] = None,
    model_card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a model card in the format of Hugging Face.")
    ] = None,
    branch: Annotated[str | None, typer.Option(metavar="NAME", help="Branch of the model. Default: main.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write what the ledger says of the newest model, in a format of others; the ledger is checked before."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_json, write_text
        from myosotis.ledger.cyclonedx import bill_of_materials
        from myosotis.ledger.model_card import model_card as card_of
        from myosotis.ledger.recorded import check_output, recorded_model
        from myosotis.ledger.store import Ledger

        if (cyclonedx is None) == (model_card is None):
            raise InputError("an export is one file: give --cyclonedx or --model-card")
        opened = Ledger(directory)
        for path in (cyclonedx, model_card):
            if path is not None:
                check_output(opened, path, overwrite=overwrite)
        model = recorded_model(opened, branch)
        if cyclonedx is not None:
            write_json(cyclonedx, bill_of_materials(model))
            typer.echo(f"bill of materials: {cyclonedx}, of the model of line {model.line.line}")
        if model_card is not None:
            write_text(model_card, card_of(model))
            typer.echo(f"model card: {model_card}, of the model of line {model.line.line}")


@ledger.command("release")
def release_model(
    directory: Folder,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model, or run, that others are given.")],
    file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A file that goes with it: converted weights, a report; repeatable."),
    ] = None,
    recipient: Annotated[
        str | None, typer.Option("--to", metavar="WHOM", help="Who is given it; others will read this for ever.")
    ] = None,
    key: Key = None,
) -> None:
    """Add a line that others were given a model, which must be, file by file, the one that a line left."""
    with exit_statuses(resumes=False):
        from myosotis.ledger.keys import open_signer
        from myosotis.ledger.releases import claim_of_release
        from myosotis.ledger.store import Ledger

        opened = Ledger(directory)
        signer = open_signer(key, opened.keys)
        claim, branch = claim_of_release(opened, model, file or (), recipient)
        number = opened.append(claim, signer, branch)
        typer.echo(f"line {number}: release, model {claim.subjects['model']}")


@ledger.command("timestamp")
def stamp(
    directory: Folder,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a request over the head, to be sent to an authority.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store the authority's response in the ledger.")
    ] = None,
) -> None:
    """Have an authority say that the lines existed today (RFC 3161); the request is a file that you send."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import staged_file
        from myosotis.ledger.recorded import check_output
        from myosotis.ledger.store import Ledger
        from myosotis.ledger.timestamps import make_request, store_response

        if (request is None) == (response is None):
            raise InputError("give --request, and after the authority has answered --response")
        opened = Ledger(directory)
        if request is not None:
            check_output(opened, request, overwrite=True)
            content = make_request(opened)
            with staged_file(request) as staged:
                staged.write_bytes(content)
            typer.echo(f"request: {request}; send it to an authority, then give --response")
        if response is not None:
            if not response.is_file():
                raise InputError(f"{response}: no such file of a response")
            size, time = store_response(opened, response.read_bytes())
            typer.echo(f"time stamp: the first {size} lines existed on {time}; `verify --roots` checks who says so")
