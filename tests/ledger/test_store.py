"""Appending to a ledger: one line or none, whatever happens."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger, verify_ledger
from myosotis.ledger.envelopes import HEAD, canonical, sealed
from myosotis.ledger.keys import KEY_VARIABLE, make_key, open_signer, read_public
from myosotis.ledger.verification import Trusted


def holds(ledger):
    return all(check.holds for check in verify_ledger(ledger.path, Trusted.by_ledger(ledger.path)))


def test_lines_follow_each_other(life):
    statements = list(life.statements())
    assert [one.predicate.sequence for one in statements] == [0, 1, 2]
    parents = [one.predicate.parent for one in statements]
    assert parents[0] is None
    assert [parent.sequence for parent in parents[1:]] == [0, 1]
    assert life.head().tips["main"].sequence == 1
    assert life.head().size == 3
    assert holds(life)


def test_an_empty_ledger_is_in_order(tmp_path, signer):
    assert holds(Ledger.create(tmp_path / "new", signer))


def test_a_model_that_does_not_follow_is_refused(life, signer, claimed):
    before = (life.path / "log.intoto.jsonl").read_bytes()
    with pytest.raises(InputError, match="another model than the one that line 2 left; '--branch NAME'"):
        life.append(claimed("forget", "a", "c"), signer)
    with pytest.raises(InputError, match="another model"):
        life.append(claimed("learn", None, "c"), signer)
    assert (life.path / "log.intoto.jsonl").read_bytes() == before


def test_the_same_run_twice_is_refused(life, signer, claimed):
    life.append(claimed("forget", "b", "b"), signer)  # it changed nothing
    with pytest.raises(InputError, match="line 4 already records this run"):
        life.append(claimed("forget", "b", "b"), signer)


def test_a_branch_begins_at_the_line_that_left_its_model(life, signer, claimed):
    assert life.append(claimed("forget", "b", "c"), signer, "trial") == 4
    assert life.append(claimed("forget", "c", "d"), signer, "trial") == 5
    assert life.append(claimed("learn", None, "x"), signer, "other") == 6
    assert life.append(claimed("forget", "b", "e"), signer) == 7
    parents = [one.predicate.parent for one in life.statements()]
    assert [parent and parent.sequence for parent in parents] == [None, 0, 1, 1, 3, None, 1]
    assert holds(life)


def test_an_audit_is_of_any_line_and_moves_nothing(life, signer, auditor, claimed):
    assert life.append(claimed("audit", "a", "a"), auditor) == 4
    with pytest.raises(InputError, match="no line left the model that is to be audited"):
        life.append(claimed("audit", "z", "z"), auditor)
    assert life.append(claimed("forget", "b", "c"), signer) == 5
    parents = [one.predicate.parent for one in life.statements()]
    assert [parent and parent.sequence for parent in parents[3:]] == [0, 1]
    assert holds(life)


def test_an_append_that_was_cut_off_before_its_head_is_completed(life, signer, claimed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_sign", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            life.append(claimed("forget", "b", "c"), signer)
    checks = list(verify_ledger(life.path, Trusted.by_ledger(life.path)))
    assert "an append was interrupted, the next one completes it" in checks[-1].text
    assert life.append(claimed("forget", "c", "d"), signer) == 5
    assert holds(life)


@pytest.mark.parametrize("rest", [b'{"payload', b"{}\n", b"\n", b"{}\n{}\n"])
def test_a_torn_line_is_named_and_nothing_is_appended(life, signer, claimed, rest):
    log = life.path / "log.intoto.jsonl"
    log.write_bytes(log.read_bytes() + rest)
    before = log.read_bytes()
    with pytest.raises(InputError, match=r"torn after line 3|line 4: is not an envelope"):
        life.append(claimed("forget", "b", "c"), signer)
    assert log.read_bytes() == before
    assert not holds(life)


def test_a_line_of_somebody_else_after_the_head_is_not_taken_over(life, signer, claimed, tmp_path):
    other = Ledger.create(tmp_path / "other", make_key(tmp_path / "other.key"))
    other.append(claimed("forget", "b", "c"), open_signer(str(tmp_path / "other.key")))
    log = life.path / "log.intoto.jsonl"
    log.write_bytes(log.read_bytes() + (other.path / "log.intoto.jsonl").read_bytes())
    with pytest.raises(InputError, match="line 4: the signature"):
        life.append(claimed("forget", "b", "c"), signer)


def test_missing_lines_are_named(life, signer, claimed):
    log = life.path / "log.intoto.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="lines are missing"):
        life.append(claimed("forget", "b", "c"), signer)


def test_threads_of_one_process_append_one_after_the_other(life, signer, claimed):
    def append(number):
        return Ledger(life.path).append(claimed("learn", None, str(number)), signer, str(number))

    with ThreadPoolExecutor(4) as threads:
        lines = list(threads.map(append, range(40)))
    assert sorted(lines) == list(range(4, 44))
    runs = [one.predicate.run.name for one in life.statements()]
    assert [runs[line - 1] for line in lines] == [str(number) for number in range(40)]
    assert holds(life)


@pytest.mark.processes
def test_two_paths_to_one_folder_have_one_lock(life, signer, claimed, tmp_path):
    """Threads come by a link to the parent, a process by a relative path from elsewhere."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "mount").symlink_to(tmp_path)
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import claim
from pathlib import Path
from myosotis.ledger import Ledger
from myosotis.ledger.keys import open_signer
ledger, signer = Ledger(Path("../mount/life")), open_signer("../../life.key")
for number in range(8):
    ledger.append(claim("learn", None, f"process {{number}}"), signer, f"process {{number}}")
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path / "elsewhere" / "deep")

    def append(path):
        for number in range(8):
            Ledger(path).append(claimed("learn", None, f"{path} {number}"), signer, f"{path} {number}")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(append, [life.path, tmp_path / "elsewhere" / "mount" / "life"]))
    assert process.wait() == 0
    assert life.head().size == 27
    assert holds(life)


def test_a_lock_of_a_host_that_is_gone_is_taken_over_at_once(life, signer, claimed, monkeypatch):
    monkeypatch.setattr("myosotis.ledger.store._PATIENCE", 0.0)
    owner = {"host": "pod-7", "pid": 1, "started": 0.0, "locked": 0.0}
    (life.path / ".log.intoto.jsonl.lock").write_text(json.dumps(owner))
    assert life.append(claimed("forget", "b", "c"), signer) == 4
    assert not (life.path / ".log.intoto.jsonl.lock").exists()


def test_a_full_disk_leaves_the_log_as_it_was(life, signer, claimed, monkeypatch):
    before, write = (life.path / "log.intoto.jsonl").read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[: len(content) // 2]))
        with pytest.raises(OSError, match="bytes could be written"):
            life.append(claimed("forget", "b", "c"), signer)
    assert (life.path / "log.intoto.jsonl").read_bytes() == before
    assert life.append(claimed("forget", "b", "c"), signer) == 4


@pytest.mark.processes
def test_two_processes_append_at_once(life, tmp_path):
    program = f"""
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import claim
from dataclasses import replace
from pathlib import Path
from myosotis.ledger import Ledger
from myosotis.ledger.keys import open_signer
ledger, signer = Ledger(Path({str(life.path)!r})), open_signer({str(tmp_path / "life.key")!r})
for number in range(8):
    result = hashlib.sha256(f"{{sys.argv[1]}} {{number}}".encode()).hexdigest()
    ledger.append(claim("forget", "b", "b", evidence={{"result.json": result}}), signer)
"""
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    assert life.head().size == 19
    assert holds(life)


class TestKeys:
    def test_a_key_that_others_can_read_is_refused(self, tmp_path):
        make_key(tmp_path / "open.key")
        (tmp_path / "open.key").chmod(0o640)
        with pytest.raises(InputError, match="others can read this key"):
            open_signer(str(tmp_path / "open.key"))

    def test_it_is_made_for_its_owner_alone_and_never_replaced(self, tmp_path):
        make_key(tmp_path / "a.key")
        assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(InputError, match="exists already"):
            make_key(tmp_path / "a.key")

    def test_from_the_environment(self, tmp_path, monkeypatch):
        made = make_key(tmp_path / "a.key")
        monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "a.key"))
        assert open_signer(None).public_key.keyid == made.public_key.keyid
        monkeypatch.delenv(KEY_VARIABLE)
        with pytest.raises(InputError, match="no key to sign with"):
            open_signer(None)

    def test_by_uri(self, life, signer, tmp_path):
        uri = open_signer(f"file2:{tmp_path / 'life.key'}", life.keys)
        assert uri.public_key.keyid == signer.public_key.keyid
        with pytest.raises(InputError, match="a key of 'file2:' cannot be opened: FileNotFoundError"):
            open_signer(f"file2:{tmp_path / 'nothing'}", life.keys)
        make_key(tmp_path / "other.key")
        with pytest.raises(InputError, match="it belongs to none of the public keys"):
            open_signer(f"file2:{tmp_path / 'other.key'}", life.keys)

    def test_nothing_of_a_damaged_key_is_said(self, tmp_path):
        content = make_key(tmp_path / "a.key").private_bytes.decode()
        secret = content.splitlines()[1]
        (tmp_path / "a.key").write_text(content.replace("-----END", "?-----END"))
        with pytest.raises(InputError) as raised:
            open_signer(str(tmp_path / "a.key"))
        assert secret[:12] not in str(raised.value)

    def test_a_key_that_is_not_in_the_folder_cannot_sign(self, life, claimed, tmp_path):
        other = make_key(tmp_path / "other.key")
        with pytest.raises(InputError, match="key has no role"):
            life.append(claimed("forget", "b", "c"), other)

    def test_an_auditor_signs_audits_and_an_operator_everything_else(self, life, signer, auditor, claimed):
        assert life.append(claimed("audit", "b", "b"), auditor) == 4
        assert holds(life)
        for kind, who, needed in (("forget", auditor, "an operator"), ("audit", signer, "an auditor")):
            with pytest.raises(InputError, match=f"'{kind}' needs {needed}"):
                life.append(claimed(kind, "b", "b"), who)
        operator = Trusted([read_public(life.path / "keys" / "operator.pub")])
        assert not all(check.holds for check in verify_ledger(life.path, operator))

    def test_only_an_operator_gives_roles(self, life, signer, auditor, tmp_path):
        other = make_key(tmp_path / "other.key").public_key
        with pytest.raises(InputError, match="'auditor' is an auditor, and 'key' needs an operator"):
            life.add_key(other, "other", "operator", auditor)
        for name, message in (
            ("auditor", "already exists, and a key is never replaced"),
            ("o/../x", "a name of a key"),
        ):
            with pytest.raises(InputError, match=message):
                life.add_key(other, name, "auditor", signer)
        with pytest.raises(InputError, match="has a role already, as 'auditor'"):
            life.add_key(auditor.public_key, "again", "auditor", signer)
        life.add_key(other, "other", "witness", signer)
        assert life.head().roles[other.keyid].role == "witness"
        assert holds(life)

    def test_a_line_that_an_operator_left_without_a_head_is_completed_by_an_operator(
        self, life, signer, auditor, claimed, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "_sign", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                life.append(claimed("forget", "b", "c"), signer)
        with pytest.raises(InputError, match="an operator completes it"):
            life.append(claimed("audit", "b", "b"), auditor)
        assert life.recover(signer).line == 4
        assert life.recover(signer) is None
        assert holds(life)

    def test_another_kind_of_key_is_refused(self, tmp_path):
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        private = generate_private_key(SECP256R1())
        content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "ec.key").touch(0o600)
        (tmp_path / "ec.key").write_bytes(content)
        with pytest.raises(InputError, match="is no Ed25519 key"):
            open_signer(str(tmp_path / "ec.key"))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "ec.pub").write_bytes(public)
        with pytest.raises(InputError, match="is no Ed25519 key"):
            read_public(tmp_path / "ec.pub")


def test_canonical_json_has_the_bytes_of_the_rfc():
    value = json.loads(
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true]}'
    )
    expected = b'{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    assert canonical(value) == expected


@pytest.mark.parametrize("change", [{"sequence": 7}, {"parent": {"sequence": 3, "sha256": "0" * 64}}])
def test_a_statement_that_names_a_later_line_is_refused(change, life, signer, claimed, forge):
    forge(life, claimed("forget", "b", "c"), signer, lambda content: content["predicate"].update(change))
    with pytest.raises(InputError, match=r"line 4: its own number or that of its parent is wrong"):
        list(life.statements())


def test_a_head_with_a_tip_beyond_its_lines_is_refused(life, signer):
    content = life.head().content()
    content["tips"]["main"]["sequence"] = 3
    (life.path / "head.json").write_bytes(sealed(content, HEAD, signer))
    with pytest.raises(InputError, match="a tip is a line that the head does not cover"):
        life.head()


def test_lines_that_the_head_covers_and_the_log_lacks_are_not_passed_over(life):
    log = life.path / "log.intoto.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="its head covers 3 lines, and some are missing"):
        list(life.statements())


def test_a_head_of_another_version_is_refused(life, signer):
    from myosotis.ledger.envelopes import HEAD, sealed

    content = {**life.head().content(), "version": "v9"}
    (life.path / "head.json").write_bytes(sealed(content, HEAD, signer))
    with pytest.raises(InputError, match=r"is of version v9, this program writes v0\.2"):
        life.head()


def test_what_is_no_ledger_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a ledger; `myosotis ledger init` makes one"):
        Ledger(tmp_path)


def test_the_guide_of_an_older_version_stays_the_guide(life, signer, claimed):
    guide = "How an older version said it.\n"
    (life.path / "VERIFY.md").write_text(guide)
    head = replace(life.head(), guide=hashlib.sha256(guide.encode()).hexdigest())
    (life.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))
    life.append(claimed("forget", "b", "c"), signer)
    checks = list(verify_ledger(life.path, Trusted.by_ledger(life.path)))
    assert all(check.holds for check in checks)
    assert "its guide is of another version" in next(check.text for check in checks if check.name == "folder")


def test_an_append_does_not_sign_a_guide_that_was_exchanged(life, signer, claimed):
    (life.path / "VERIFY.md").write_text("Believe everything.\n")
    life.append(claimed("forget", "b", "c"), signer)
    assert not holds(life)
