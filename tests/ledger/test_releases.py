"""Releases: only of models that a line left, and remembered when something is forgotten."""

import hashlib
from dataclasses import replace

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger, directory_digest, verify_ledger
from myosotis.ledger.pages import certificate, life_page
from myosotis.ledger.recorded import recorded_model
from myosotis.ledger.releases import claim_of_release
from myosotis.ledger.table import log_table, remarks
from myosotis.ledger.verification import Trusted
from myosotis.report.render import render_html


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"one")
    (folder / "b.bin").write_bytes(b"two")
    return folder


@pytest.fixture
def recorded(life, signer, claimed, model):
    """The life, and as line 4 a forgetting that left the model."""
    subject, files = directory_digest(model)
    life.append(replace(claimed("forget", "b", "c"), subjects={"model": subject}, files=files), signer)
    return life


def released(ledger, signer, model, **options):
    claim, branch = claim_of_release(ledger, model, **options)
    return ledger.append(claim, signer, branch)


def failed(ledger):
    checks = list(verify_ledger(ledger.path, Trusted.by_ledger(ledger.path)))
    return None if checks[-1].holds else checks[-1]


def test_a_line_says_what_was_given_and_to_whom(recorded, signer, model, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"converted")
    assert released(recorded, signer, model, files=[tmp_path / "model.gguf"], recipient="a <hospital>") == 5
    statement = list(recorded.statements())[-1]
    said = statement.predicate
    assert statement.predicate_type == "urn:myosotis:ledger:release:v0.2"
    assert (said.parent.sequence, said.parent.sha256) == (3, statement.digest)
    assert said.evidence == {"model.gguf": hashlib.sha256(b"converted").hexdigest()}
    assert said.recipient == "a <hospital>"
    assert said.run.name == "c"
    assert failed(recorded) is None
    # It changes no tip, may be said again, and is part of table, pages and exports.
    assert released(recorded, signer, model) == 6
    assert recorded.head().tips["main"].sequence == 3
    statements = list(recorded.statements())
    assert list(log_table(statements, recorded.signers()))[5].split()[2:4] == ["release", "c"]
    page = render_html(certificate(statements[4], 5, "operator"))
    assert "Certificate of a release" in page
    assert "a &lt;hospital&gt;" in page
    assert "5: release, c" in render_html(life_page(statements, recorded.signers(), []))
    assert [one.line for one in recorded_model(recorded).about] == [5, 6]


def test_the_model_of_a_run_and_of_a_branch(recorded, signer, claimed, model):
    subject, files = directory_digest(model)
    trial = replace(claimed("learn", None, "t"), subjects={"model": subject}, files=files)
    recorded.append(trial, signer, "trial")
    (model.parent / "config.yaml").write_text("{}")
    released(recorded, signer, model.parent)
    said = list(recorded.statements())[-1].predicate
    assert (said.branch, said.parent.sequence) == ("trial", 4)
    assert failed(recorded) is None


@pytest.mark.parametrize("change", ["edit", "rename", "add"])
def test_another_model_is_refused(change, recorded, signer, model):
    if change == "edit":
        (model / "b.bin").write_bytes(b"2wo")
    elif change == "rename":
        (model / "b.bin").rename(model / "c.bin")
    else:
        (model / "c.bin").touch()
    with pytest.raises(InputError, match="is not the model that a line left"):
        released(recorded, signer, model)
    assert recorded.head().size == 4


def test_other_mistakes(recorded, signer, model, tmp_path):
    (tmp_path / "x").write_text("x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x").write_text("y")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for files, message in (
        ([tmp_path / "none"], "no such file, or a link"),
        ([tmp_path], "no such file, or a link"),
        ([tmp_path / "link"], "no such file, or a link"),
        ([tmp_path / "x", tmp_path / "more" / "x"], "two files would be called x"),
    ):
        with pytest.raises(InputError, match=message):
            claim_of_release(recorded, model, files)
    with pytest.raises(InputError, match="no such directory of a model"):
        claim_of_release(recorded, tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not the model that a line left"):
        claim_of_release(Ledger.create(tmp_path / "new", signer), model)
    claim, _ = claim_of_release(recorded, model)
    with pytest.raises(InputError, match="no line left the model that is to be released"):
        recorded.append(replace(claim, subjects={"model": "0" * 64}), signer)


def test_who_has_a_model_must_hear_of_later_forgetting(recorded, signer, claimed, model):
    released(recorded, signer, model)
    assert [text for text in remarks(list(recorded.statements())) if text.startswith("line 5")] == []
    recorded.append(claimed("learn", "c", "d"), signer)
    recorded.append(claimed("forget", "d", "e"), signer)
    recorded.append(claimed("learn", None, "x"), signer, "trial")
    recorded.append(claimed("forget", "x", "y"), signer, "trial")
    (text,) = (text for text in remarks(list(recorded.statements())) if text.startswith("line 5"))
    assert text == (
        "line 5: the model that others were given is from before the forgetting of line 7; they must hear of it"
    )
    recorded.append(claimed("forget", "e", "f"), signer)
    released(recorded, signer, model)
    texts = [text for text in remarks(list(recorded.statements())) if "given" in text]
    assert [text.partition(":")[0] for text in texts] == ["line 5", "line 11"]
    assert all("of line 7 and 1 more;" in text for text in texts)


@pytest.mark.parametrize("kind", ["release", "audit"])
def test_a_line_about_another_model_than_its_parent_is_noticed(kind, recorded, signer, auditor, model, forge):
    """Signed by whom it must be, in order, and under a head."""
    first = next(iter(recorded.statements()))
    claim, branch = claim_of_release(recorded, model)

    def changed(content):
        content["predicate"]["parent"] = {"sequence": 0, "sha256": first.digest}
        content["predicate"]["weights"]["in"] = "a"

    forge(recorded, replace(claim, kind=kind), auditor if kind == "audit" else signer, changed, branch)
    assert (failed(recorded).name, failed(recorded).text) == (
        "lineage",
        "line 5 is not about the model that line 1 left",
    )


@pytest.mark.parametrize("kind", ["release", "audit"])
def test_a_line_about_a_model_that_no_line_left_is_refused(kind, recorded, signer, auditor, model, forge):
    claim, branch = claim_of_release(recorded, model)

    def changed(content):
        content["predicate"]["parent"] = None

    forge(recorded, replace(claim, kind=kind), auditor if kind == "audit" else signer, changed, branch)
    assert failed(recorded).name == "signatures"
    assert failed(recorded).text.endswith(f"it {kind}s a model that no line left")
