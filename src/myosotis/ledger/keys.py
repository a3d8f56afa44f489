"""Keys of a ledger: Ed25519 by ``securesystemslib``, from a file, or from any signer that it knows."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import Error as SigningError, KeyMismatchError, UnsupportedLibraryError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer, SSlibKey

from myosotis.engine.errors import InputError

KEY_VARIABLE = "MYOSOTIS_LEDGER_KEY"
"""Environment variable with a path or a URI of the key."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_key(path: Path) -> CryptoSigner:
    """Make a key and write it, readable by its owner alone, as PEM of PKCS #8.

    Raises:
        InputError: Something is there already.
    """
    signer = CryptoSigner.generate_ed25519()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{path}: exists already, and a key is never replaced") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(signer.private_bytes)
        stream.flush()
        os.fsync(stream.fileno())
    return signer


def key_file(key: str | None) -> Path | None:
    """Return the file of a key, the environment's unless given; None for a URI.

    Raises:
        InputError: There is none.
    """
    key = key or os.environ.get(KEY_VARIABLE)
    if not key:
        raise InputError(f"no key to sign with: give --key, or set {KEY_VARIABLE}")
    return None if ":" in key and key.partition(":")[0] in SIGNER_FOR_URI_SCHEME else Path(key)


def open_signer(key: str | None, publics: Iterable[SSlibKey] = ()) -> Signer:
    """Return the signer that a path or a URI names.

    Args:
        key: Path of a private key, or a URI like ``hsm:`` or ``awskms:``; the environment's unless given.
        publics: Public keys, one of which belongs to a URI.

    Raises:
        InputError: There is none, others may read the file, or it is no key. Nothing of it is in the text.
    """
    path = key_file(key)
    if path is None:
        return _of_uri(str(key or os.environ[KEY_VARIABLE]), publics)
    if not path.is_file():
        raise InputError(f"{path}: no such file of a key")
    if os.name == "posix" and path.stat().st_mode & _OTHERS:
        raise InputError(f"{path}: others can read this key; `chmod 600` it, and think about a new one")
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{path}: holds no private key in PEM without a password") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InputError(f"{path}: is no Ed25519 key")
    return CryptoSigner(private)


def _of_uri(uri: str, publics: Iterable[SSlibKey]) -> Signer:
    scheme, reason = uri.partition(":")[0], "the ledger has no public key"
    for public in publics:
        try:
            return Signer.from_priv_key_uri(uri, public)
        except KeyMismatchError:
            reason = "it belongs to none of the public keys"
        except UnsupportedLibraryError as error:
            reason = str(error)
        except (SigningError, ValueError, OSError, ImportError) as error:
            reason = type(error).__name__  # its text may hold a part of the URI
    raise InputError(f"a key of '{scheme}:' cannot be opened: {reason}")


def read_public(path: Path) -> SSlibKey:
    """Read a public key in PEM.

    Raises:
        InputError: It is none.
    """
    if not path.is_file():  # reading a pipe would wait for ever
        raise InputError(f"{path}: no such file of a public key")
    try:
        public = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{path}: holds no public key in PEM") from None
    if not isinstance(public, Ed25519PublicKey):
        raise InputError(f"{path}: is no Ed25519 key")
    return SSlibKey.from_crypto(public)


def public_pem(key: SSlibKey) -> str:
    """Return a public key as PEM."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
