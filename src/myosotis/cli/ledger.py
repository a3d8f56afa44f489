"""``myosotis ledger``: what happened to a model, signed, for others to check."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import say

ledger = typer.Typer(help="Record what happened to a model, signed, for others to check.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The ledger.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Ed25519 key: a file, or a URI of securesystemslib. Default: MYOSOTIS_LEDGER_KEY."
    ),
]

ReceiptKind = Literal["learn", "forget", "destroy"]
"""Kinds of lines that cover records."""

LearnedKeys = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Key of the commitments to what was learned, from `add --opening`: each record must be among them. "
        "Repeatable.",
    ),
]


@ledger.command("init")
def begin(
    directory: Folder,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key, made if it is not there. Default: DIR.key.")
    ] = None,
) -> None:
    """Make an empty ledger, and an Ed25519 key that its owner alone can read."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.ledger.keys import make_key, open_signer
        from myosotis.ledger.recording import check_outside
        from myosotis.ledger.store import Ledger

        file = key or directory.with_name(f"{directory.name}.key")
        if directory.exists():
            raise InputError(f"{directory}: exists already")
        check_outside(directory, file)
        if not directory.resolve().parent.is_dir():
            raise InputError(f"{directory}: its parent is not a directory")
        signer = open_signer(str(file)) if file.exists() else make_key(file)
        Ledger.create(directory, signer)
        say(f"private key: {file}; keep a copy where nobody else reads it")
        typer.echo(f"ledger: {directory}; give others {directory / 'keys' / 'operator.pub'}")


@ledger.command()
def add(
    directory: Folder,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run that learned or forgot.")],
    key: Key = None,
    audit: Annotated[bool, typer.Option("--audit", help="Record the second audit of the run, its audit.json.")] = False,
    branch: Annotated[str | None, typer.Option(metavar="NAME", help="Branch of the line. Default: main.")] = None,
    records: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Commit to these records: a folder of photos, or a JSONL file."),
    ] = None,
    receipts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --records: where the receipts go, one for each record.")
    ] = None,
    opening: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --records: where the key of the commitments goes, by which receipts can be made later and a "
            "request shown to have been learned. Keep it private.",
        ),
    ] = None,
    learned: LearnedKeys = None,
) -> None:
    """Add a line from a finished run: what was learned, forgotten or audited, with digests of model and evidence."""
    with exit_statuses(resumes=False):
        from myosotis.ledger.keys import open_signer
        from myosotis.ledger.recording import record_run
        from myosotis.ledger.store import Ledger

        opened = Ledger(directory)
        line = record_run(
            opened,
            run,
            open_signer(key, opened.keys),
            audit=audit,
            branch=branch,
            records=records,
            receipts=receipts,
            opening=opening,
            learned=learned or (),
            say=say,
        )
        typer.echo(f"line {line.line}: {line.kind}, model {line.model}")


@ledger.command("receipts")
def make_receipts(
    directory: Folder,
    opening: Annotated[Path, typer.Argument(metavar="FILE", help="Key of a line's commitments, from `add --opening`.")],
    receipts: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the receipts go, one for each record.")],
    records: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Only for these records: photos, or a JSONL file.")
    ] = None,
    learned: LearnedKeys = None,
) -> None:
    """Make receipts for the records of a line, from the key of its commitments; --learned needs --records."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.ledger.commitments import read_opening
        from myosotis.ledger.receipts import proofs_among, proofs_of_all, write_receipts
        from myosotis.ledger.recording import check_new
        from myosotis.ledger.store import Ledger

        if learned and records is None:
            raise InputError("'learned' goes with 'records'")
        check_new(directory, receipts)
        commitment = read_opening(opening)
        roots = [one.predicate.records.root for one in Ledger(directory).statements()]
        if commitment.root not in roots:
            raise InputError(f"{opening}: no line of {directory} has these commitments")
        had = proofs_among(records, [read_opening(path) for path in learned])[0] if records and learned else None
        proofs = proofs_of_all(commitment) if records is None else proofs_among(records, [commitment])[0]
        count = write_receipts(proofs, receipts, had)
        typer.echo(f"receipts of line {roots.index(commitment.root) + 1}: {count} in {receipts}")


@ledger.command()
def destroy(
    directory: Folder,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders to remove for good.")],
    key: Key = None,
    opening: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the key of the line's commitments goes, by which receipts for the files can be made. Default: "
            "it is forgotten.",
        ),
    ] = None,
    pending: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Private file with what is being removed, until the line is written. Default: next to the key.",
        ),
    ] = None,
) -> None:
    """Remove files, and add a line with their number; an interrupted removal is completed by the next call.

    The line names no file: it commits to them, and names only models that the ledger has recorded. Removal is that of
    the file system: a disk, a backup or a cloud may still hold the bytes.
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.ledger.destruction import destroy as remove
        from myosotis.ledger.keys import key_file, open_signer
        from myosotis.ledger.recording import check_outside
        from myosotis.ledger.store import Ledger

        opened = Ledger(directory)
        signer, own = open_signer(key, opened.keys), key_file(key)
        if pending is None and own is None:
            raise InputError("the key is not a file: give --pending, a private file for what is being removed")
        pending = pending or Path(f"{own}.destroying.json")
        check_outside(directory, opening, pending)
        for line in remove(opened, paths, signer, pending, opening):
            models = ", with the model of line ".join(["", *map(str, line.models)])
            typer.echo(f"line {line.line}: destroyed {line.files} files{models}")
            for path in line.left:
                say(f"{path}: not removed as a whole, for files arrived in it meanwhile")


@ledger.command("make-key")
def new_key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Private key, e.g. auditor.key; FILE.pub lies beside it.")
    ],
) -> None:
    """Make a key for somebody who is to sign lines, an auditor for example, and its public key beside it."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_text
        from myosotis.ledger.keys import make_key, public_pem

        public = file.with_suffix(".pub")
        if public.exists():
            raise InputError(f"{public}: exists already, and a key is never replaced")
        write_text(public, public_pem(make_key(file).public_key))
        typer.echo(f"private key: {file}; public key: {public}")


@ledger.command("key")
def add_key(
    directory: Folder,
    public: Annotated[Path, typer.Argument(metavar="FILE", help="Public key of somebody else, e.g. auditor.pub.")],
    role: Annotated[
        Literal["operator", "auditor", "witness"],
        typer.Option(
            help="What its owner may sign: an operator what happened to the model, an auditor audits, a witness "
            "checkpoints."
        ),
    ] = "auditor",
    key: Key = None,
) -> None:
    """Put a public key into the ledger, and sign what its owner may sign; its name is that of the file."""
    with exit_statuses(resumes=False):
        from myosotis.ledger.keys import open_signer, read_public
        from myosotis.ledger.store import Ledger

        opened = Ledger(directory)
        opened.add_key(read_public(public), public.stem, role, open_signer(key, opened.keys))
        typer.echo(f"{role}: {directory / 'keys' / f'{public.stem}.pub'}")


@ledger.command()
def log(
    directory: Folder,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the life of the model as a page.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the lines as a table; their signatures are checked by `verify`, and for a page."""
    with exit_statuses(resumes=False):
        from myosotis.engine.printable import printable
        from myosotis.ledger.store import Ledger
        from myosotis.ledger.table import log_table, remarks

        opened = Ledger(directory)
        if html is not None:
            from myosotis.ledger.recorded import check_output

            check_output(opened, html, overwrite=overwrite)
        statements = list(opened.statements())
        remarked = list(remarks(statements))
        signers = opened.signers()
        for line in log_table(statements, signers):
            typer.echo(line)
        for line in remarked:
            say(printable(line))
        if html is not None:
            from myosotis.ledger.pages import life_page
            from myosotis.report.render import write_html

            write_html(life_page(statements, signers, remarked), html)
            typer.echo(f"page: {html}")


@ledger.command("certificate")
def make_certificate(
    directory: Folder,
    line: Annotated[int, typer.Argument(min=1, help="Number of the line, as `log` prints it.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page; the signed line lies beside it. Default: line-N.html."),
    ] = None,
    person: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write half a page in plain words, for the person who asked."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a certificate of one line: a page for an auditor, and the signed line beside it for programs."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_text
        from myosotis.ledger.pages import certificate
        from myosotis.ledger.person import person_page
        from myosotis.ledger.recorded import check_output
        from myosotis.ledger.store import Ledger
        from myosotis.report.render import write_html

        opened = Ledger(directory)
        lines = list(opened.lines())
        if line > len(lines):
            raise InputError(f"{directory}: has {len(lines)} lines")
        page = out or Path(f"line-{line}.html")
        signed = page.with_suffix(".intoto.json")
        for path in (page, signed, *([person] if person is not None else [])):
            check_output(opened, path, overwrite=overwrite)
        if person is not None and person.resolve() in (page.resolve(), signed.resolve()):
            raise InputError(f"{person}: is the certificate already; give --person a file of its own")
        statements = list(opened.statements())
        document = certificate(statements[line - 1], line, opened.signers()[line - 1])
        plain = None if person is None else person_page(statements, line, opened.head().roles.values())
        write_html(document, page)
        write_text(signed, lines[line - 1].decode())
        typer.echo(f"certificate: {page} and {signed}")
        if person is not None and plain is not None:
            write_text(person, plain)
            typer.echo(f"for the person: {person}")


@ledger.command()
def verify(
    directory: Folder,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Public key of an operator that you trust, from its owner; repeatable. Without one, nobody "
            "that you named has signed the ledger.",
        ),
    ] = None,
    auditor: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Public key of an auditor, likewise.")
    ] = None,
    witness: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Public key of a witness who must have cosigned all lines; repeatable."),
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(min=1, help="How many of the witnesses are enough. Default: all that are named.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Model, or run, that the newest line of the branch should have left."),
    ] = None,
    branch: Annotated[str, typer.Option(metavar="NAME", help="With --model: branch of the model.")] = "main",
    since: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A head.json of this ledger that you kept from before.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A photo, or a JSON record, that a line should cover.")
    ] = None,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="With --record: its receipt.")] = None,
    kind: Annotated[
        ReceiptKind, typer.Option(help="With --record: what the line must say was done with the record.")
    ] = "forget",
    recompute: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --model, of a learner that forgets exactly: all images that it should have learned, which are "
            "learned anew.",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="With --recompute: side that images are scaled to.")] = None,
    roots: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates of time-stamping authorities, in PEM: check the time stamps."),
    ] = None,
) -> None:
    """Check signatures, order, head, lineage and folder; a line for each check, and an exit status for each failure.

    \b
    10 signatures   11 order   12 another ledger   13 head   14 an older head   15 model
    16 lineage      17 keys and VERIFY.md          18 record   19 sums learned anew   20 time stamps
    21 witnesses    30 all holds, but nobody was named by --key
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.printable import printable
        from myosotis.ledger.keys import read_public
        from myosotis.ledger.timestamps import stamped_sizes
        from myosotis.ledger.verification import UNNAMED, Trusted, verify_ledger

        if (record is None) != (receipt is None):
            raise InputError("--record and --receipt go together")
        proof = None if record is None or receipt is None else (record, receipt)
        anew = None if recompute is None else _learning_anew(model, recompute, size)
        if recompute is None and size is not None:
            raise InputError("--size belongs to --recompute")
        if (auditor or witness) and not key:
            raise InputError("--auditor and --witness go with --key, the key of the operator")
        if quorum is not None and quorum > len(witness or ()):
            raise InputError(f"--quorum {quorum} needs as many keys of --witness")
        if key:
            operators, auditors, witnesses = (
                [read_public(path) for path in paths or ()] for paths in (key, auditor, witness)
            )
            trusted = Trusted(operators, auditors, witnesses, len(witnesses) if quorum is None else quorum)
        else:
            trusted = Trusted.by_ledger(directory)
        asked: dict[str, Any] = {
            "model": model,
            "branch": branch,
            "since": since,
            "proof": proof,
            "kind": kind,
            "learned_anew": anew,
            "roots": roots,
        }
        for check in verify_ledger(directory, trusted, **asked):
            text = " ".join(printable(check.text).split())  # names of files are others'
            typer.echo(f"{'ok    ' if check.holds else 'FAILED'} {check.name}: {text}")
            if not check.holds:
                raise typer.Exit(check.status)
        if roots is None and (stamps := len(stamped_sizes(directory))):
            say(f"{stamps} time stamps were not checked: --roots takes the certificates of their authorities")
        if not key:
            typer.echo("consistent, by nobody you named: whoever made the folder could have made its keys; give --key")
            raise typer.Exit(UNNAMED)
        typer.echo("verified")


def _learning_anew(model: Path | None, folder: Path, size: int | None) -> Callable[[], Mapping[str, Any]]:
    """A function that learns the images of a folder anew, as ``myosotis audit classifier --against`` does."""
    from myosotis.engine.errors import InputError

    if model is None:
        raise InputError("--recompute goes with --model, the run of a learner that forgets exactly")
    from myosotis.forgetting_learner.exact.job import audit_against, is_exact

    if not is_exact(model):
        raise InputError(f"{model}: is no learner that forgets exactly, so there are no sums to compare")
    return lambda: audit_against(model, folder, size)
