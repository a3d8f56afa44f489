"""Signed JSON: RFC 8785 in a DSSE envelope (https://github.com/secure-systems-lab/dsse)."""

import json
from collections.abc import Sequence
from typing import Any

import rfc8785
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import Signer, SSlibKey

LINE = "application/vnd.in-toto+json"
HEAD = "application/vnd.myosotis.ledger-head+json"

_LARGEST = 2**53 - 1


class EnvelopeError(ValueError):
    """An envelope that is damaged, of another kind, or signed by none of the keys."""


def canonical(value: Any) -> bytes:
    """Return JSON by RFC 8785, in which equal values have equal bytes; whole numbers beyond 2^53 become text.

    Example:
        >>> canonical({"b": 2.0, "a": [True, 2**60]})
        b'{"a":[true,"1152921504606846976"],"b":2}'
    """
    return rfc8785.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        return str(value)
    return value


def sealed(value: Any, kind: str, signer: Signer) -> bytes:
    """Return a value in a signed envelope, as canonical JSON on one line without its end."""
    envelope = Envelope(canonical(value), kind, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def opened(content: bytes, kind: str, keys: Sequence[SSlibKey]) -> tuple[Any, str]:
    """Return the value in an envelope, and the identifier of the key that signed it.

    Args:
        content: The envelope.
        kind: Type that it must have.
        keys: Keys, one of which must have signed it.

    Raises:
        EnvelopeError: It is damaged, or signed by none of them.
    """
    envelope = _parsed(content, kind)
    try:
        signed = envelope.verify(list(keys), 1)
    except (SigningError, ValueError):
        names = ", ".join(keyid[:8] for keyid in envelope.signatures) or "nobody"
        raise EnvelopeError(f"the signature of {names} is not one of the given keys'") from None
    return _value(envelope), next(iter(signed))


def unverified(content: bytes, kind: str) -> Any:
    """Return the value in an envelope whose signature is not looked at.

    Raises:
        EnvelopeError: It is damaged.
    """
    return _value(_parsed(content, kind))


def _parsed(content: bytes, kind: str) -> Envelope:
    try:
        envelope = Envelope.from_dict(json.loads(content))
    except (SigningError, ValueError, KeyError, TypeError, AttributeError):
        raise EnvelopeError("is no envelope") from None
    if envelope.payload_type != kind:
        raise EnvelopeError(f"is an envelope of another kind, expected {kind}")
    return envelope


def _value(envelope: Envelope) -> Any:
    try:
        return json.loads(envelope.payload)
    except ValueError:
        raise EnvelopeError("the envelope holds no JSON") from None
