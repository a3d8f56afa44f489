"""Signed JSON: RFC 8785 in a DSSE envelope (https://github.com/secure-systems-lab/dsse), in one form alone.

Whoever reads an envelope must read what everybody else reads. So its bytes, and those of its payload, are exactly those
that :func:`sealed` writes: no white space, no key twice, one signature. Everything else is refused.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer, SSlibKey

LINE = "application/vnd.in-toto+json"
HEAD = "application/vnd.myosotis.ledger-head+json"

_LARGEST = 2**53 - 1
_BASE64 = rb"([A-Za-z0-9+/]+={0,2})"
_FORM = re.compile(
    rb'\{"payload":"'
    + _BASE64
    + rb'","payloadType":"([a-z0-9./+-]+)","signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"'
    + _BASE64
    + rb'"\}\]\}'
)


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


def parse_canonical(content: bytes) -> Any:
    """Return the value of JSON that is written by RFC 8785, and in no other way.

    Raises:
        EnvelopeError: It is not JSON, or has another form: white space, a key twice, a number that is no double.

    Example:
        >>> parse_canonical(b'{"a":[true,0.5],"b":2}')
        {'a': [True, 0.5], 'b': 2}
    """
    try:
        value = _DECODER.decode(content.decode())
        # The library's writer takes most of the time of a check; Python's gives the same bytes but for rare characters.
        rare = not content.isascii() and max(content) >= 0xF0
        if (rare or _ENCODER.encode(value).encode() != content) and rfc8785.dumps(value) != content:
            raise EnvelopeError("is not written as canonical JSON (RFC 8785), so that others may read it otherwise")
    except EnvelopeError:
        raise
    except (ValueError, RecursionError):
        raise EnvelopeError("is not JSON") from None
    return value


def _whole(text: str) -> int | float:
    return int(text) if len(text) < len(str(_LARGEST)) or abs(int(text)) <= _LARGEST else _fraction(text)


def _fraction(text: str) -> float:
    value = float(text)
    if rfc8785.dumps(value).decode() != text:
        raise EnvelopeError(f"writes the number {text[:40]} in another way than RFC 8785")
    return value


def _no_number(text: str) -> NoReturn:
    raise EnvelopeError(f"holds {text}, which is not JSON")


_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_fraction, parse_constant=_no_number)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sealed(value: Any, kind: str, signer: Signer) -> bytes:
    """Return a value in a signed envelope, as canonical JSON on one line without its end."""
    envelope = Envelope(canonical(value), kind, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def opened(content: bytes, kind: str, keys: Iterable[SSlibKey]) -> tuple[Any, str]:
    """Return the value in an envelope, and the identifier of the key that signed it.

    Args:
        content: The envelope.
        kind: Type that it must have.
        keys: Keys, one of which must have signed it.

    Raises:
        EnvelopeError: It has another form or type, or is signed by none of them.
    """
    payload, keyid = authenticated(content, kind, keys)
    return parse_canonical(payload), keyid


def authenticated(content: bytes, kind: str, keys: Iterable[SSlibKey]) -> tuple[bytes, str]:
    """Return the payload of an envelope, and the identifier of the key that signed it, as :func:`opened` does.

    Raises:
        EnvelopeError: It has another form or type, or is signed by none of the keys.
    """
    payload, keyid, signature = _parsed(content, kind)
    key = next((key for key in keys if key.keyid == keyid), None)
    if key is None or not _holds(key, signature, payload, kind):
        raise EnvelopeError(f"the signature of {keyid[:8]} is not one of the given keys'")
    return payload, keyid


def unverified(content: bytes, kind: str) -> Any:
    """Return the value in an envelope whose signature is not looked at.

    Raises:
        EnvelopeError: It has another form or type.
    """
    return parse_canonical(_parsed(content, kind)[0])


def payload_of(content: bytes, kind: str) -> bytes:
    """Return the payload of an envelope whose signature is not looked at.

    Raises:
        EnvelopeError: It has another form or type.
    """
    return _parsed(content, kind)[0]


def _parsed(content: bytes, kind: str) -> tuple[bytes, str, bytes]:
    """Payload, identifier of the key, and signature."""
    match = _FORM.fullmatch(content)
    if match is None:
        raise EnvelopeError("is not an envelope in the form that it is written in")
    if match[2].decode() != kind:
        raise EnvelopeError(f"is an envelope of another kind, expected {kind}")
    return _decoded(match[1]), match[3].decode(), _decoded(match[4])


def _decoded(text: bytes) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise EnvelopeError("holds no base64") from None
    if base64.b64encode(content) != text:
        raise EnvelopeError("holds base64 in another form than it is written in")
    return content


def _holds(key: SSlibKey, signature: bytes, payload: bytes, kind: str) -> bool:
    try:
        _public(key.keyval["public"]).verify(signature, Envelope(payload, kind, {}).pae())
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=64)
def _public(value: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(value))
