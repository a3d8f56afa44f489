"""A time-stamping authority in a folder, for tests. Needs ``rfc3161-client`` and the command ``openssl``."""

import importlib.util
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SETTINGS = """
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
"""


def certificate(subject, public, issuer, signer, *extensions, days=3):
    name = {one: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject, issuer)}
    builder = x509.CertificateBuilder().subject_name(name[subject]).issuer_name(name[issuer]).public_key(public)
    now = datetime.now(UTC)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(signer, hashes.SHA256())


def usage(**true):
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: true.get(name, False) for name in names.split()})


class Authority:
    """A time-stamping authority in a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        of_root = x509.BasicConstraints(True, None), usage(key_cert_sign=True)
        of_authority = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), usage(digital_signature=True)
        root = certificate("root", root_key.public_key(), "root", root_key, *of_root)
        own = certificate("authority", key.public_key(), "root", root_key, *of_authority)
        pem = serialization.Encoding.PEM
        (folder / "root.pem").write_bytes(root.public_bytes(pem))
        (folder / "authority.pem").write_bytes(own.public_bytes(pem))
        unlocked = serialization.NoEncryption()
        (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unlocked))
        (folder / "settings").write_text(SETTINGS)
        (folder / "serial").write_text("01\n")

    @staticmethod
    def is_available():
        return importlib.util.find_spec("rfc3161_client") is not None and shutil.which("openssl") is not None

    @property
    def root(self):
        return self.folder / "root.pem"

    def answer(self, request):
        (self.folder / "request.tsq").write_bytes(request)
        words = (
            "openssl ts -reply -config settings -queryfile request.tsq -inkey key.pem -signer authority.pem -out r.tsr"
        )
        subprocess.run(words.split(), cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "r.tsr").read_bytes()
