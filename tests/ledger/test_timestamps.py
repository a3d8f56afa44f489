"""Time stamps: over a stored head, by an authority that is made here, and nothing else holds.

Needs ``rfc3161-client`` and the command ``openssl``.
"""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from myosotis.engine.errors import InputError
from myosotis.engine.extras import MissingExtraError
from myosotis.ledger import Ledger, verify_ledger
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.statements import moment_of
from myosotis.ledger.timestamps import FOLDER, check_times, make_request, read_roots, stamped_sizes, store_response
from myosotis.ledger.verification import Trusted


@pytest.fixture
def new_authority(tmp_path, file_module):
    module = file_module(Path(__file__).with_name("authority.py"))
    if not module.Authority.is_available():
        pytest.skip("needs rfc3161-client and openssl")
    return lambda name: module.Authority(tmp_path / name)


@pytest.fixture
def authority(new_authority):
    return new_authority("authority")


def outcome(ledger, authority):
    checks = list(verify_ledger(ledger.path, Trusted.by_ledger(ledger.path), roots=authority.root))
    return checks[-1]


def stamped(ledger, authority):
    return store_response(ledger, authority.answer(make_request(ledger)))


def test_a_time_stamp_holds_after_the_head_has_moved_on(life, signer, claimed, authority):
    request = make_request(life)
    life.append(claimed("forget", "b", "c"), signer)
    size, time = store_response(life, authority.answer(request))
    assert size == 3
    assert abs(datetime.fromisoformat(time) - datetime.now(UTC)) < timedelta(minutes=5)
    assert stamped_sizes(life.path) == [3]
    check = outcome(life, authority)
    assert (check.name, check.holds, check.text) == ("time", True, f"the first 3 lines existed on {time}")
    size, time = stamped(life, authority)
    assert size == 4
    assert outcome(life, authority).text == (f"the first 4 lines existed on {time}, by the newest of 2 time stamps")


def test_openssl_agrees(life, authority):
    stamped(life, authority)
    head, token = (life.path / FOLDER / name for name in ("3.head.json", "3.tsr"))
    words = ["openssl", "ts", "-verify", "-data", head, "-in", token, "-CAfile", authority.root]
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_an_empty_ledger_can_be_stamped(signer, tmp_path, authority):
    ledger = Ledger.create(tmp_path / "new", signer)
    assert stamped(ledger, authority)[0] == 0
    assert outcome(ledger, authority).holds


class TestFails:
    def test_without_a_time_stamp(self, life, authority):
        check = outcome(life, authority)
        assert (check.status, check.text) == (20, "the ledger has no time stamp")
        make_request(life)
        assert outcome(life, authority).status == 20

    def test_with_another_authority(self, life, authority, new_authority):
        stamped(life, authority)
        check = outcome(life, new_authority("other"))
        assert check.status == 20
        assert check.text.startswith(f"{FOLDER}/3.tsr: does not hold")

    def test_with_any_byte_of_the_head_changed(self, life, authority):
        stamped(life, authority)
        path = life.path / FOLDER / "3.head.json"
        content = path.read_bytes()
        for index in range(0, len(content), 5):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
            assert outcome(life, authority).status == 20, index
        path.unlink()
        assert "its head is missing" in outcome(life, authority).text

    def test_with_a_damaged_response(self, life, authority):
        stamped(life, authority)
        path = life.path / FOLDER / "3.tsr"
        content = path.read_bytes()
        for damaged in (b"", b"x", content[:-1], content[: len(content) // 2], content + b"0"):
            path.write_bytes(damaged)
            assert outcome(life, authority).status == 20, damaged
        # The bytes of imprint and time, and the last ones, which are the signature.
        start = content.index(bytes.fromhex("0420")) + 2
        for index in (*range(start, start + 60), *range(len(content) - 64, len(content))):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
            assert outcome(life, authority).status == 20, index

    def test_with_a_head_of_another_past(self, life, signer, claimed, authority, tmp_path):
        shutil.copytree(life.path, tmp_path / "fork")
        life.append(claimed("forget", "b", "c"), signer)
        stamped(life, authority)
        fork = Ledger(tmp_path / "fork")
        fork.append(claimed("forget", "b", "d"), signer)
        shutil.copytree(life.path / FOLDER, fork.path / FOLDER)
        assert "its head is not that of the first 4 lines" in outcome(fork, authority).text

    def test_with_the_head_of_more_lines_than_there_are(self, life, signer, claimed, authority, tmp_path):
        shutil.copytree(life.path, tmp_path / "old")
        life.append(claimed("forget", "b", "c"), signer)
        stamped(life, authority)
        shutil.copytree(life.path / FOLDER, tmp_path / "old" / FOLDER)
        assert outcome(Ledger(tmp_path / "old"), authority).status == 13

    def test_with_lines_that_are_dated_past_it(self, life, authority):
        """A line that was added after a time stamp cannot say that it is older than that by more than a day."""
        stamped(life, authority)
        assert outcome(life, authority).holds

        moments = [moment_of(one.predicate.recorded_on).timestamp() for one in life.statements()]
        stamp = datetime.now(UTC).timestamp()
        for recorded, message in (
            ([*moments, stamp - 90_000], "line 4, which it does not cover, says that it was recorded a day before"),
            ([*moments[:2], stamp + 400], "line 3 says that it was recorded after the time stamp"),
        ):
            keys, roots = life.keys, read_roots(authority.root)
            with pytest.raises(EnvelopeError, match=message):
                check_times(life.path, keys, roots, life.lines(), life.head().ledger, recorded)

    def test_with_a_head_under_another_name(self, life, authority):
        stamped(life, authority)
        for name in ("head.json", "tsr"):
            (life.path / FOLDER / f"3.{name}").rename(life.path / FOLDER / f"2.{name}")
        assert "its head is not that of the first 2 lines" in outcome(life, authority).text


class TestRefused:
    def test_a_response_over_something_else(self, life, authority, tmp_path, signer):
        other = Ledger.create(tmp_path / "other", signer)
        with pytest.raises(InputError, match="over no head of this ledger"):
            store_response(life, authority.answer(make_request(other)))
        assert stamped_sizes(life.path) == []

    def test_no_response(self, life, authority):
        for content in (b"", b"{}", make_request(life)):
            with pytest.raises(InputError, match="is no time-stamp response"):
                store_response(life, content)

    def test_a_refusal(self, life, authority):
        # PKIStatusInfo alone, with the status 2: rejection.
        with pytest.raises(InputError, match="is a refusal of the authority: rejection"):
            store_response(life, bytes.fromhex("30053003020102"))

    def test_a_second_time_stamp_over_one_head(self, life, authority):
        request = make_request(life)
        store_response(life, authority.answer(request))
        before = (life.path / FOLDER / "3.tsr").read_bytes()
        with pytest.raises(InputError, match="exists already, and a time stamp is never replaced"):
            store_response(life, authority.answer(request))
        assert (life.path / FOLDER / "3.tsr").read_bytes() == before

    def test_a_damaged_head(self, life, authority):
        head = life.path / "head.json"
        head.write_bytes(head.read_bytes().replace(b'"sig":"', b'"sig":"A'))
        with pytest.raises(InputError, match=r"head\.json: "):
            make_request(life)
        assert not (life.path / FOLDER).exists()

    def test_certificates_that_are_none(self, authority, tmp_path):
        with pytest.raises(InputError, match="holds no certificate in PEM"):
            read_roots(authority.folder / "key.pem")
        with pytest.raises(InputError, match="no such file of certificates"):
            read_roots(tmp_path / "none.pem")


def test_the_extra_is_missed_in_one_line(life, monkeypatch, tmp_path):
    monkeypatch.setattr("myosotis.engine.extras.find_spec", lambda _: None)
    (tmp_path / "tsa.pem").write_text("")
    for call in (
        lambda: make_request(life),
        lambda: store_response(life, b""),
        lambda: read_roots(tmp_path / "tsa.pem"),
    ):
        with pytest.raises(MissingExtraError, match=r"needs rfc3161-client, .*'myosotis\[timestamp\]'"):
            call()
    assert not (life.path / FOLDER).exists()
