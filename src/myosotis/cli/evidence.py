"""``myosotis ledger``, continued: what others are given."""

from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.ledger import Folder, Key, Overwrite, ledger

__all__ = ["ledger"]


@ledger.command("export")
def export_model(
    directory: Folder,
    cyclonedx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a CycloneDX 1.6 bill of materials, in JSON.")
    ] = None,
    model_card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a model card in the format of Hugging Face.")
    ] = None,
    scitt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write --line as a statement of SCITT with a receipt: COSE_Sign1, RFC 9942."),
    ] = None,
    attestation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write --line in a signed envelope: SLSA provenance of a model, or in-toto test result of an audit.",
        ),
    ] = None,
    line: Annotated[int | None, typer.Option(min=1, help="With --scitt or --attestation: number of the line.")] = None,
    issuer: Annotated[
        str | None,
        typer.Option(metavar="URI", help="With --scitt or --attestation: who says so, for example your URL."),
    ] = None,
    branch: Annotated[str | None, typer.Option(metavar="NAME", help="Branch of the model. Default: main.")] = None,
    key: Key = None,
    overwrite: Overwrite = False,
) -> None:
    """Write what the ledger says of the newest model, or of a line, in a format of others; all checks run before."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_bytes, write_json, write_text
        from myosotis.ledger.cyclonedx import bill_of_materials
        from myosotis.ledger.keys import open_signer
        from myosotis.ledger.model_card import model_card as card_of
        from myosotis.ledger.recorded import check_output, recorded_line, recorded_model
        from myosotis.ledger.store import Ledger

        given = [path for path in (cyclonedx, model_card, scitt, attestation) if path is not None]
        if len(given) != 1:
            raise InputError("an export is one file: give --cyclonedx, --model-card, --scitt or --attestation")
        of_line = scitt is not None or attestation is not None
        if of_line != (line is not None) or of_line != (issuer is not None):
            raise InputError("--line and --issuer go with --scitt and with --attestation")
        opened = Ledger(directory)
        check_output(opened, given[0], overwrite=overwrite)
        if line is None or issuer is None:
            model = recorded_model(opened, branch)
            if cyclonedx is not None:
                write_json(cyclonedx, bill_of_materials(model))
                typer.echo(f"bill of materials: {cyclonedx}, of the model of line {model.line.line}")
            if model_card is not None:
                write_text(model_card, card_of(model))
                typer.echo(f"model card: {model_card}, of the model of line {model.line.line}")
            return
        from myosotis.ledger.attestations import attestation_of, statement_of_scitt

        statement = recorded_line(opened, line)
        signer = open_signer(key, opened.keys)
        make = attestation_of if attestation is not None else statement_of_scitt
        content = make(opened, statement, signer, issuer)
        write_bytes(given[0], content)
        typer.echo(f"line {line}: {given[0]}")


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
    overwrite: Overwrite = False,
) -> None:
    """Have an authority say that the lines existed today (RFC 3161); the request is a file that you send."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_bytes
        from myosotis.ledger.recorded import check_output
        from myosotis.ledger.store import Ledger
        from myosotis.ledger.timestamps import make_request, store_response

        if (request is None) == (response is None):
            raise InputError("give --request, and after the authority has answered --response")
        opened = Ledger(directory)
        if request is not None:
            check_output(opened, request, overwrite=overwrite)
            content = make_request(opened)
            write_bytes(request, content)
            typer.echo(f"request: {request}; send it to an authority, then give --response")
        if response is not None:
            if not response.is_file():
                raise InputError(f"{response}: no such file of a response")
            size, time = store_response(opened, response.read_bytes())
            typer.echo(f"time stamp: the first {size} lines existed on {time}; `verify --roots` checks who says so")


@ledger.command("checkpoint")
def make_checkpoint(
    directory: Folder,
    key: Key = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the request for a witness (C2SP tlog-witness).")
    ] = None,
    old_size: Annotated[
        int, typer.Option("--old-size", min=0, help="With --request: lines that the witness has cosigned. Default: 0.")
    ] = 0,
    answer: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Add the answer of a witness to the checkpoint; repeatable, signs nothing."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Sign a C2SP checkpoint of all lines for witnesses, and collect their cosignatures in the ledger."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_bytes
        from myosotis.ledger.keys import open_signer
        from myosotis.ledger.recorded import check_output
        from myosotis.ledger.store import Ledger
        from myosotis.ledger.witnessing import add_answer, request_of, write_checkpoint

        opened = Ledger(directory)
        if answer:
            if request is not None:
                raise InputError("--answer adds to the checkpoint that was made, --request makes a new one")
            for path in answer:
                for name, time in add_answer(opened, path):
                    typer.echo(f"cosigned by {name} on {time}")
            return
        if request is not None:
            check_output(opened, request, overwrite=overwrite)
        size = write_checkpoint(opened, open_signer(key, opened.keys))
        typer.echo(f"checkpoint of {size} lines: {directory / 'checkpoint'}")
        if request is not None:
            content = request_of(opened, old_size)
            write_bytes(request, content)
            typer.echo(f"request: {request}; send it to a witness, then give --answer")


@ledger.command("witness")
def witness_checkpoint(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="Request of `checkpoint --request`.")],
    answer: Annotated[Path, typer.Argument(metavar="ANSWER", help="Where the cosignature goes.")],
    operator: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="Public key of the ledger's operator, from its owner; repeatable."),
    ],
    key: Key = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the witness. Default: that of the key's file.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What this witness has cosigned; keep it. Default: KEY.witness.json."),
    ] = None,
) -> None:
    """Cosign a checkpoint, as a witness, if it continues the newest one of its ledger that this witness has cosigned.

    No line is seen: the request has a proof of consistency.
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_bytes
        from myosotis.ledger.keys import key_file, open_signer, read_public
        from myosotis.ledger.witnessing import cosigned

        own = key_file(key)
        if own is None and (state is None or name is None):
            raise InputError("the key is not a file: give --state and --name")
        if answer.exists():
            raise InputError(f"{answer}: already exists")
        if not request.is_file():
            raise InputError(f"{request}: no such file of a request")
        publics = [read_public(path) for path in operator]
        file = state or Path(f"{own}.witness.json")
        line, size = cosigned(request.read_bytes(), publics, open_signer(key), name or Path(str(own)).stem, file)
        write_bytes(answer, line)
        typer.echo(f"cosigned {size} lines: {answer}; {file} holds what was cosigned, so keep it")


@ledger.command("sign-model")
def sign_files(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model, or run.")],
    signature: Annotated[Path, typer.Argument(metavar="FILE", help="Where the signature goes, for example model.sig.")],
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="ECDSA key in PEM, for models alone; made if there is none, with its public key next to it.",
        ),
    ],
) -> None:
    """Sign a model as OpenSSF Model Signing does, for `model_signing verify key`; needs the extra `signing`.

    The format knows no Ed25519, the keys of ledgers. What connects both is the digest of the model, which is the same.
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.files import write_text
        from myosotis.ledger.model_signing import make_model_key, sign_model

        folder = model / "model" if (model / "config.yaml").is_file() else model
        if not key.exists():
            write_text(key.with_suffix(".pub"), make_model_key(key))
            typer.echo(f"private key: {key}; public key: {key.with_suffix('.pub')}")
        typer.echo(f"model {sign_model(folder, signature, key)}: {signature}")
