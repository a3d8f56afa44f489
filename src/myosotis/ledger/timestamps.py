"""Time stamps of an authority (RFC 3161) over heads of a ledger, which show that its lines existed then.

Nothing here uses a network: the request is a file that somebody sends, and the response is a file that came back. A
head is stored with its response, since the ledger's head moves on: ``timestamps/N.head.json`` is the one of N lines,
and ``timestamps/N.tsr`` the response over its bytes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.x509 import Certificate, load_pem_x509_certificates
from securesystemslib.signer import SSlibKey

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.files import write_bytes, write_text
from myosotis.engine.result import rfc3339
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.heads import Head
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.store import HEAD_FILE, Ledger

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

FOLDER = "timestamps"
"""Folder of a ledger with stamped heads and the responses over them."""

_CLOCKS = 300  # seconds that the clock of a signer may be ahead of the authority's
_DAY = 86400


def make_request(ledger: Ledger) -> bytes:
    """Return a request over the SHA-256 of the head, in DER, and store the head for the response.

    Raises:
        InputError: The head is damaged, or the package for time stamps is not installed.
    """
    require("timestamp", "a time stamp")
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    content = (ledger.path / HEAD_FILE).read_bytes()
    # A nonce would bind the response to this request alone; an older response over the same head proves no less.
    builder = TimestampRequestBuilder().data(content).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=False)
    request: bytes = builder.cert_request(cert_request=True).build().as_bytes()
    _store_head(ledger, content)
    return request


def store_response(ledger: Ledger, content: bytes) -> tuple[int, str]:
    """Store a time-stamp response next to the head that it covers.

    Who signed it is a matter of :func:`check_times`, which knows the authority's certificate.

    Args:
        ledger: The ledger.
        content: The response in DER.

    Returns:
        Number of lines that the head covers, and the time of the response.

    Raises:
        InputError: It is no response, a refusal, over no head of this ledger, or the head has one already.
    """
    require("timestamp", "a time stamp")
    try:
        response = _parsed(content)
    except EnvelopeError as error:
        raise InputError(f"the response {error}") from None
    imprint = response.tst_info.message_imprint.message
    heads = [ledger.path / HEAD_FILE, *(ledger.path / FOLDER).glob("*.head.json")]
    head = next((path.read_bytes() for path in heads if hashlib.sha256(path.read_bytes()).digest() == imprint), None)
    if head is None:
        raise InputError("the response is over no head of this ledger: make a request, and send that one")
    size = _store_head(ledger, head)
    path = ledger.path / FOLDER / f"{size}.tsr"
    if path.exists():
        raise InputError(f"{path}: exists already, and a time stamp is never replaced")
    write_bytes(path, content)
    return size, rfc3339(response.tst_info.gen_time)


def stamped_sizes(path: Path) -> list[int]:
    """Return how many lines each stamped head of a ledger covers, in ascending order."""
    return sorted(int(token.stem) for token in (path / FOLDER).glob("*.tsr") if token.stem.isdecimal())


def read_roots(path: Path) -> list[Certificate]:
    """Read certificates of authorities in PEM, several one after the other.

    Raises:
        InputError: There is none, or the package for time stamps is not installed.
    """
    require("timestamp", "checking a time stamp")
    if not path.is_file():
        raise InputError(f"{path}: no such file of certificates")
    try:
        return list(dict.fromkeys(load_pem_x509_certificates(path.read_bytes())))
    except ValueError:
        raise InputError(f"{path}: holds no certificate in PEM") from None


def check_times(
    path: Path,
    keys: Sequence[SSlibKey],
    roots: Sequence[Certificate],
    lines: Iterator[bytes],
    ledger: str,
    recorded: Sequence[int],
) -> str:
    """Return what the time stamps of a ledger show, all of which must hold.

    The dates of lines lie between the time stamps around them: a line that a stamp covers was not recorded after it,
    and a line after those was not recorded more than a day before it: lines may be added while the authority answers.

    Args:
        path: The ledger.
        keys: Keys, one of which must have signed each head.
        roots: Certificates of authorities that are trusted.
        lines: Lines of the log, whose order has been checked.
        ledger: Identifier of the ledger.
        recorded: When each line says that it was recorded, in seconds since 1970.

    Raises:
        EnvelopeError: There is no time stamp, one of them does not hold, or a line is dated past it.
    """
    sizes, time, covered = stamped_sizes(path), "", Frontier()
    if not sizes:
        raise EnvelopeError("the ledger has no time stamp")
    for size in sizes:
        head, token = path / FOLDER / f"{size}.head.json", path / FOLDER / f"{size}.tsr"
        for line in islice(lines, size - covered.size):
            covered = covered.with_entry(line)
        try:
            if not head.is_file():
                raise EnvelopeError("its head is missing")
            content = head.read_bytes()
            old = Head.read(content, keys)
            if (old.ledger, old.size, old.frontier) != (ledger, size, covered):
                raise EnvelopeError(f"its head is not that of the first {size} lines")
            moment = _verified(token.read_bytes(), content, roots)
            time = rfc3339(moment)
            _check_dates(recorded, size, int(moment.timestamp()))
        except EnvelopeError as error:
            raise EnvelopeError(f"{FOLDER}/{token.name}: {error}") from None
    of_several = f", by the newest of {len(sizes)} time stamps" if len(sizes) > 1 else ""
    return f"the first {sizes[-1]} lines existed on {time}{of_several}"


def _check_dates(recorded: Sequence[int], size: int, moment: int) -> None:
    late = next((line for line, second in enumerate(recorded[:size], start=1) if second > moment + _CLOCKS), None)
    if late is not None:
        raise EnvelopeError(f"line {late} says that it was recorded after the time stamp that covers it")
    if len(recorded) > size and recorded[size] < moment - _DAY:
        raise EnvelopeError(
            f"line {size + 1}, which it does not cover, says that it was recorded a day before it or more"
        )


def _store_head(ledger: Ledger, content: bytes) -> int:
    """Store a head where it is not stored yet; returns the number of its lines."""
    try:
        size = Head.read(content, ledger.keys).size
    except EnvelopeError as error:
        raise InputError(f"{ledger.path / HEAD_FILE}: {error}") from None
    path = ledger.path / FOLDER / f"{size}.head.json"
    if path.is_file() and path.read_bytes() == content:
        return size
    if path.with_name(f"{size}.tsr").exists():
        raise InputError(f"{path}: another head of {size} lines already has a time stamp")
    path.parent.mkdir(exist_ok=True)
    write_text(path, content.decode())
    return size


def _parsed(content: bytes) -> "TimeStampResponse":
    from rfc3161_client import PKIStatus, decode_timestamp_response

    try:
        response = decode_timestamp_response(content)
        status = PKIStatus(response.status)
    except ValueError:
        raise EnvelopeError("is no time-stamp response") from None
    if status != PKIStatus.GRANTED:
        raise EnvelopeError(f"is a refusal of the authority: {status.name.lower().replace('_', ' ')}")
    try:
        response.tst_info  # noqa: B018 - read when it is asked for
    except ValueError:
        raise EnvelopeError("is no time-stamp response") from None
    return response


def _verified(token: bytes, content: bytes, roots: Sequence[Certificate]) -> datetime:
    """The time of a response over a content, by one of the authorities."""
    from rfc3161_client import VerificationError, VerifierBuilder

    response: Any = _parsed(token)
    try:
        VerifierBuilder(roots=list(roots)).build().verify_message(response, content)
    except (VerificationError, ValueError) as error:
        raise EnvelopeError(f"does not hold: {error}") from None
    moment: datetime = response.tst_info.gen_time
    return moment
