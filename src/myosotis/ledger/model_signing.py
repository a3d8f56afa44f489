"""Signatures of models by OpenSSF Model Signing, which ``model_signing verify key`` checks without this package.

The signature is a Sigstore bundle with an in-toto statement over the digest of each file. Its format knows ECDSA keys
on the curves P-256, P-384 and P-521 only, so the Ed25519 key of a ledger cannot make one, and a model has a signing key
of its own. What connects both is the digest: the statement names the model by the digest that its line in the ledger
names, see :func:`~myosotis.ledger.claims.directory_digest`. All files are covered. ``model_signing`` leaves out
``.git*`` by default; where a model has such files, its command needs ``--no-ignore-git-paths``.
"""

import base64
import json
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.files import staged_file
from myosotis.ledger.claims import directory_digest
from myosotis.ledger.commitments import write_private
from myosotis.ledger.envelopes import EnvelopeError

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_model_key(path: Path) -> str:
    """Make a P-256 key and write it, readable by its owner alone, as PEM; returns the public key as PEM.

    Raises:
        InputError: The file exists.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), at_once=True)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign_model(model: Path, signature: Path, key: Path) -> str:
    """Sign a model, and return its digest, which is that of its line in a ledger.

    Args:
        model: Folder of the model.
        signature: File of the signature, by custom ``model.sig``; outside the model, whose digest it would change.
        key: File of a private ECDSA key in PEM, see :func:`make_model_key`.

    Raises:
        InputError: The signature exists, the key cannot be used, the model has a link, or the package is missing.
    """
    require("signing", "the signature of a model")
    _check_key(key)
    if signature.exists():
        raise InputError(f"{signature}: exists already, and a signature is never replaced")
    if signature.resolve().is_relative_to(model.resolve()):
        raise InputError(f"{signature}: is inside the model, whose digest it would change; give a path outside")
    digest, _ = directory_digest(model)
    from model_signing.hashing import Config as Hashing
    from model_signing.signing import Config as Signing

    hashing = Hashing().set_ignored_paths(paths=[], ignore_git_paths=False)
    with staged_file(signature) as staged:
        Signing().use_elliptic_key_signer(private_key=key).set_hashing_config(hashing).sign(model, staged)
        if signed_digest(staged) != digest:
            raise InputError(f"{model}: changed while it was signed")
    return digest


def verify_model(model: Path, signature: Path, public: Path) -> str:
    """Verify the signature of a model, and return its digest.

    Args:
        model: Folder of the model.
        signature: File of the signature.
        public: File of the public key in PEM.

    Raises:
        InputError: A file is missing, or the package is.
        EnvelopeError: The signature is damaged, of another key, or of another model.
    """
    require("signing", "the signature of a model")
    for path in (model, signature, public):
        if not path.exists():
            raise InputError(f"{path}: no such file")
    from model_signing.hashing import Config as Hashing
    from model_signing.verifying import Config as Verifying

    hashing = Hashing().set_ignored_paths(paths=[], ignore_git_paths=False)
    try:
        verifying = Verifying().use_elliptic_key_verifier(public_key=public).set_hashing_config(hashing)
        verifying.verify(model, signature)
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise EnvelopeError(f"the signature of the model does not hold: {error}") from None
    except InvalidSignature:
        raise EnvelopeError("the signature of the model is not by the given key, or was changed") from None
    return signed_digest(signature)


def signed_digest(signature: Path) -> str:
    """Return the digest of the model that a signature is over; who signed it is not checked.

    Raises:
        EnvelopeError: It is damaged.
    """
    try:
        envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
        (subject,) = json.loads(base64.b64decode(envelope["payload"], validate=True))["subject"]
        return str(subject["digest"]["sha256"])
    except (ValueError, KeyError, TypeError):
        raise EnvelopeError("is not the signature of a model, or damaged") from None


def _check_key(path: Path) -> None:
    """Raise ``InputError`` unless a file holds a private key that the format knows, and its owner alone can read it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of a key")
    if os.name == "posix" and path.stat().st_mode & _OTHERS:
        raise InputError(f"{path}: others can read this key; `chmod 600` it, and think about a new one")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{path}: holds no private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES):
        raise InputError(f"{path}: is not an ECDSA key on P-256, P-384 or P-521, which signatures of models need")
