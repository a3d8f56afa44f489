"""Signatures of models: keys, files, and in the slow tier what the package of OpenSSF says of ours.

The slow ones need ``pip install 'myosotis[signing]'``.
"""

import base64
import json
import subprocess
import sys

import pytest

from myosotis.engine.errors import InputError
from myosotis.engine.extras import MissingExtraError
from myosotis.ledger import directory_digest
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.keys import make_key
from myosotis.ledger.model_signing import make_model_key, sign_model, signed_digest, verify_model


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "adapter").mkdir(parents=True)
    (folder / "net.safetensors").write_bytes(b"weights" * 100)
    (folder / "adapter" / "config.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.safetensors lfs\n")
    return folder


@pytest.fixture
def installed():
    pytest.importorskip("OpenSSL")
    return pytest.importorskip("model_signing")


@pytest.fixture
def key(tmp_path):
    (tmp_path / "model.pub").write_text(make_model_key(tmp_path / "model.key"))
    return tmp_path / "model.key"


def test_a_key_is_its_owners(key):
    assert key.stat().st_mode & 0o077 == 0
    assert key.with_suffix(".pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(InputError, match="already exists"):
        make_model_key(key)


def test_a_missing_package_is_named(model, key, tmp_path, monkeypatch):
    monkeypatch.setattr("myosotis.engine.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs model-signing, .*'myosotis\[signing\]'"):
        sign_model(model, tmp_path / "model.sig", key)


def test_keys_and_paths_that_cannot_be_used(model, key, tmp_path, monkeypatch):
    monkeypatch.setattr("myosotis.ledger.model_signing.require", lambda *_: None)
    signature = tmp_path / "model.sig"
    with pytest.raises(InputError, match="no such file of a key"):
        sign_model(model, signature, tmp_path / "none.key")
    make_key(tmp_path / "life.key")
    with pytest.raises(InputError, match="is not an ECDSA key"):
        sign_model(model, signature, tmp_path / "life.key")
    with pytest.raises(InputError, match="inside the model"):
        sign_model(model, model / "adapter" / "model.sig", key)
    signature.touch()
    with pytest.raises(InputError, match="never replaced"):
        sign_model(model, signature, key)
    with pytest.raises(EnvelopeError, match="damaged"):
        signed_digest(signature)
    key.chmod(0o644)
    with pytest.raises(InputError, match="others can read"):
        sign_model(model, tmp_path / "other.sig", key)


@pytest.mark.slow
def test_the_command_of_the_package_verifies_a_model(model, key, tmp_path, installed):
    signature = tmp_path / "model.sig"
    digest = sign_model(model, signature, key)
    assert digest == directory_digest(model)[0] == signed_digest(signature)

    def verified():
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(model), "--signature", str(signature)]
        command += ["--public_key", str(key.with_suffix(".pub")), "--no-ignore-git-paths"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verified()
    weights = (model / "net.safetensors").read_bytes()
    (model / "net.safetensors").write_bytes(weights[:-1] + b"S")
    assert not verified()
    (model / "net.safetensors").write_bytes(weights)
    assert verified()
    (model / "more").touch()
    assert not verified()


@pytest.mark.slow
def test_a_changed_model_signature_or_key_is_refused(model, key, tmp_path, installed):
    signature, public = tmp_path / "model.sig", key.with_suffix(".pub")
    digest = sign_model(model, signature, key)
    assert verify_model(model, signature, public) == digest
    (tmp_path / "other.pub").write_text(make_model_key(tmp_path / "other.key"))
    with pytest.raises(EnvelopeError):
        verify_model(model, signature, tmp_path / "other.pub")
    content = signature.read_text()
    payload = json.loads(content)["dsseEnvelope"]["payload"]
    other = base64.b64encode(base64.b64decode(payload).replace(digest.encode(), b"0" * 64)).decode()
    for damaged in ("", "{}", content.replace('"sig":', '"no":'), content.replace(payload, other)):
        (tmp_path / "damaged.sig").write_text(damaged)
        with pytest.raises(EnvelopeError):
            verify_model(model, tmp_path / "damaged.sig", public)
    (model / "net.safetensors").write_bytes(b"Weights" * 100)
    with pytest.raises(EnvelopeError, match=r"net\.safetensors"):
        verify_model(model, signature, public)
    with pytest.raises(InputError, match="no such file"):
        verify_model(model, tmp_path / "none.sig", public)
