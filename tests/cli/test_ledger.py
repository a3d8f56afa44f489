"""`myosotis ledger`: the life of a learner, recorded by its jobs and checked."""

import hashlib
import json
import shutil

import pytest
import yaml
from safetensors.torch import load_file, save_file

from myosotis.ledger.keys import KEY_VARIABLE, make_key, public_pem
from myosotis.ledger.statements import Records

ORDER = ["elm", "ash", "hazel", "birch"]


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_classes):
    folder = tmp_path_factory.mktemp("ledger-world")
    write_classes(folder / "train", 8, 1)
    write_classes(folder / "test", 4, 2)
    (folder / "out" / "elm").mkdir(parents=True)
    shutil.copy(folder / "train" / "elm" / "00.png", folder / "out" / "elm")
    return folder


@pytest.fixture(scope="module")
def life(world, invoke):
    """A folder with a ledger of a life: learn, forget, learn on, and an audit by a second key."""
    data = {
        "train": {"folder": str(world / "train")},
        "test": {"folder": str(world / "test")},
        "only": sorted(ORDER),
    }
    learn = {
        "job": "learn-classes",
        "name": "learned",
        "data": {**data, "only": sorted(ORDER[:2])},
        "scenario": {"first": 2, "per_task": 2, "class_order": ORDER[:2]},
        "model": {"architecture": "small-resnet", "options": {"widths": [4, 8], "blocks": [1, 1]}},
        "method": {"name": "er"},
        "memory": {"total": 8},
        "training": {"epochs": 1, "batch_size": 8},
    }
    forget = {
        "job": "unlearn-learner",
        "name": "request-17",
        "model": {"learner": str(world / "learned")},
        "data": {
            "forget": {"folder": str(world / "out")},
            "train": data["train"],
            "test": data["test"],
        },
        "method": {"name": "finetune"},
        "training": {"epochs": 1},
        "request": {"id": "17"},
    }
    again = {
        **learn,
        "name": "again",
        "data": data,
        "scenario": {**learn["scenario"], "class_order": ORDER[2:]},
        "continue_from": str(world / "request-17"),
        "forgotten": "drop",
    }
    done = invoke("ledger", "init", world / "life")
    assert done.exit_code == 0, done.output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, str(world / "life.key"))
        for content in (learn, forget, again):
            path = world / f"{content['name']}.yaml"
            path.write_text(yaml.safe_dump(content))
            done = invoke("run", path, "--out", world / content["name"], "--ledger", world / "life")
            assert done.exit_code == 0, done.output
    assert f"ledger: line 3 of {world / 'life'}" in done.output
    return world


@pytest.fixture
def copied(life, tmp_path):
    shutil.copytree(life / "life", tmp_path / "life")
    return tmp_path / "life"


def statements(folder):
    from myosotis.ledger import Ledger

    return list(Ledger(folder).statements())


def trusted(folder):
    """The option that names the operator's key, here the one in the folder."""
    return ("--key", folder / "keys" / "operator.pub")


def test_a_life_is_verified(life, invoke):
    operator = life / "life" / "keys" / "operator.pub"
    done = invoke("ledger", "verify", life / "life", "--key", operator, "--model", life / "again")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "verified"
    first, second, third = statements(life / "life")
    assert [one.predicate_type for one in (first, second, third)] == [
        f"urn:myosotis:ledger:{kind}:v0.2" for kind in ("learn", "forget", "learn")
    ]
    for one, parent in ((second, first), (third, second)):
        assert one.predicate.parent.sha256 == parent.digest
    assert second.predicate.records == Records(count=1)
    assert second.predicate.request["id"] == "17"
    assert set(second.predicate.evidence) == {"result.json", "report.html"}


def test_a_key_that_cannot_be_read_fails_the_check_of_the_folder(copied, invoke, tmp_path):
    shutil.copy(copied / "keys" / "operator.pub", tmp_path / "operator.pub")
    (copied / "keys" / "junk.pub").write_text("no key")
    done = invoke("ledger", "verify", copied, "--key", tmp_path / "operator.pub")
    assert done.exit_code == 17, done.output
    assert "junk.pub" in done.output


def test_the_log_is_a_table(life, invoke):
    done = invoke("ledger", "log", life / "life")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].split() == ["line", "recorded", "what", "run", "method", "model", "by", "says"]
    assert [line.split()[2] for line in lines[1:4]] == ["learn", "forget", "learn"]
    assert "request-17" in lines[2]
    assert "line 2: no line since says that copies, checkpoints or the model before were destroyed" in done.output


def test_an_auditor_adds_a_line(life, copied, invoke, tmp_path):
    assert invoke("ledger", "make-key", tmp_path / "auditor.key").exit_code == 0
    assert invoke("ledger", "make-key", tmp_path / "auditor.key").exit_code == 2
    assert invoke("audit", "classifier", life / "request-17").exit_code == 0
    add = ("ledger", "add", copied, life / "request-17", "--audit", "--key", tmp_path / "auditor.key")
    refused = invoke(*add)
    assert refused.exit_code == 2
    assert "this signer's key has no role" in refused.output
    assert invoke("ledger", "key", copied, tmp_path / "auditor.pub", "--key", life / "life.key").exit_code == 0
    done = invoke(*add)
    assert done.exit_code == 0, done.output
    last = statements(copied)[-1].predicate
    assert last.parent.sequence == 1
    assert last.verdict == {"model_matches": True, "data_matches": True, "reproduced": True}
    auditor = tmp_path / "auditor.pub"
    done = invoke("ledger", "verify", copied, *trusted(copied), "--auditor", auditor)
    assert done.exit_code == 0, done.output
    assert "1 by auditor (auditor " in done.output
    done = invoke("ledger", "verify", copied, *trusted(copied), "--key", auditor)
    assert done.exit_code == 10
    assert "gives the operator" in done.output
    assert invoke("ledger", "verify", copied, "--auditor", auditor).exit_code == 2


def test_without_a_key_nothing_is_called_verified(copied, invoke):
    done = invoke("ledger", "verify", copied)
    assert done.exit_code == 30
    assert done.output.splitlines()[-1].startswith("consistent, by nobody you named: ")


def test_a_name_of_a_file_commands_no_terminal(life, copied, invoke, tmp_path):
    shutil.copytree(life / "again" / "model", tmp_path / "model")
    (tmp_path / "model" / "x\x1b[2K\nverified\n\x1b[8m").write_text("x")
    done = invoke("ledger", "verify", copied, *trusted(copied), "--model", tmp_path / "model")
    assert done.exit_code == 15
    assert "\x1b" not in done.output
    assert done.output.splitlines()[-1].startswith("FAILED model: ")


def test_another_model_has_its_own_status(life, copied, invoke, tmp_path):
    shutil.copytree(life / "again" / "model", tmp_path / "model")
    weights = (
        load_file(tmp_path / "model" / "net.safetensors") if (tmp_path / "model" / "net.safetensors").exists() else None
    )
    file = tmp_path / "model" / ("net.safetensors" if weights else "model.safetensors")
    tensors = load_file(file)
    save_file({name: value + 1 for name, value in tensors.items()}, file)
    done = invoke("ledger", "verify", copied, *trusted(copied), "--model", tmp_path / "model")
    assert done.exit_code == 15
    assert f"FAILED model: {tmp_path / 'model'} is not the model of line 3" in done.output


def test_a_changed_line_has_its_own_status(copied, invoke):
    log = copied / "log.intoto.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    assert invoke("ledger", "verify", copied).exit_code == 10


def add(invoke, life, copied, run, *more):
    done = invoke("ledger", "add", copied, run, "--key", life / "life.key", *more)
    assert done.exit_code == 2
    return done.output


class TestRefused:
    def test_the_same_run_twice(self, life, copied, invoke):
        assert "line 3 already records this run" in add(invoke, life, copied, life / "again")

    def test_a_run_that_is_not_finished(self, life, copied, invoke, tmp_path):
        shutil.copytree(life / "again", tmp_path / "run")
        (tmp_path / "run" / "result.json").unlink()
        assert "not finished" in add(invoke, life, copied, tmp_path / "run")

    def test_a_run_whose_model_has_changed(self, life, copied, invoke, tmp_path):
        shutil.copytree(life / "again", tmp_path / "run")
        (tmp_path / "run" / "model" / "learner.json").write_text("{}")
        assert "its files have changed since the run was finished" in add(invoke, life, copied, tmp_path / "run")

    def test_a_run_that_was_not_audited(self, life, copied, invoke):
        assert "was not audited" in add(invoke, life, copied, life / "again", "--audit")

    def test_a_run_whose_digests_are_gone(self, life, copied, invoke, tmp_path):
        """Without them an edited result would be signed."""
        shutil.copytree(life / "again", tmp_path / "run")
        (tmp_path / "run" / "digests.json").unlink()
        assert "has no digests.json" in add(invoke, life, copied, tmp_path / "run")

    def test_the_audit_of_another_model(self, life, copied, invoke, tmp_path):
        shutil.copytree(life / "again", tmp_path / "run")
        (tmp_path / "run" / "audit.json").write_text('{"model": "elsewhere", "model_matches": false}')
        refused = add(invoke, life, copied, tmp_path / "run", "--audit")
        assert "is of another model, 'elsewhere'" in refused

    def test_no_ledger(self, life, invoke, tmp_path):
        assert "is not a ledger" in add(invoke, life, tmp_path, life / "again")

    def test_no_key_before_any_work(self, life, invoke, monkeypatch, tmp_path):
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        path = life / "learned.yaml"
        done = invoke("run", path, "--out", tmp_path / "run", "--ledger", life / "life")
        assert done.exit_code == 2
        assert "no key to sign with" in done.output
        assert not (tmp_path / "run").exists()

    def test_a_second_ledger_at_one_place(self, life, invoke):
        done = invoke("ledger", "init", life / "life")
        assert done.exit_code == 2
        assert "exists already" in done.output

    def test_a_key_inside_the_ledger(self, invoke, tmp_path):
        done = invoke("ledger", "init", tmp_path / "new", "--key", tmp_path / "new" / "my.key")
        assert done.exit_code == 2
        assert "what is private goes elsewhere" in done.output
        assert not (tmp_path / "new").exists()


def test_the_key_is_in_no_file_of_run_and_ledger(life):
    secret = (life / "life.key").read_text().splitlines()[1].encode()
    for folder in ("life", "learned", "request-17", "again"):
        for path in (life / folder).rglob("*"):
            assert path.is_dir() or secret not in path.read_bytes(), path


def test_a_key_that_is_there_is_used_again(life, invoke, tmp_path):
    done = invoke("ledger", "init", tmp_path / "second", "--key", life / "life.key")
    assert done.exit_code == 0, done.output
    one, other = ((folder / "keys" / "operator.pub").read_text() for folder in (life / "life", tmp_path / "second"))
    assert one == other
    assert json.loads((tmp_path / "second" / "head.json").read_text())["payloadType"].endswith("ledger-head+json")


def test_receipts_and_destruction(life, copied, invoke, tmp_path):
    key = ("--key", life / "life.key")
    refused = invoke("ledger", "add", copied, life / "again", "--records", life / "out", *key)
    assert refused.exit_code == 2
    assert "'records' goes with 'receipts' or 'opening'" in refused.output
    fresh = tmp_path / "fresh"
    assert invoke("ledger", "init", fresh, *key).exit_code == 0
    options = ("--records", life / "out", "--receipts", tmp_path / "receipts", *key)
    done = invoke("ledger", "add", fresh, life / "request-17", *options)
    assert done.exit_code == 0, done.output
    photo, receipt = life / "out" / "elm" / "00.png", tmp_path / "receipts" / "elm" / "00.png.receipt.json"
    done = invoke("ledger", "verify", fresh, *trusted(fresh), "--record", photo, "--receipt", receipt)
    assert done.exit_code == 0, done.output
    assert "line 1 (forget) covers 00.png by its file and pixels" in done.output
    other = life / "train" / "elm" / "01.png"
    assert invoke("ledger", "verify", fresh, *trusted(fresh), "--record", other, "--receipt", receipt).exit_code == 18
    assert invoke("ledger", "verify", fresh, *trusted(fresh), "--record", other).exit_code == 2
    # A line that would be refused leaves no receipts.
    again = ("--records", life / "out", "--receipts", tmp_path / "more", *key)
    assert invoke("ledger", "add", fresh, life / "request-17", *again).exit_code == 2
    assert not (tmp_path / "more").exists()
    shutil.copytree(life / "learned" / "model", tmp_path / "old-model")
    done = invoke("ledger", "destroy", fresh, tmp_path / "old-model", *key)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "old-model").exists()
    assert invoke("ledger", "verify", fresh, *trusted(fresh), "--model", life / "request-17").exit_code == 0
    assert "destroy" in invoke("ledger", "log", fresh).output


def test_pages(life, copied, invoke, tmp_path):
    done = invoke("ledger", "log", copied, "--html", tmp_path / "life.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "life.html").read_text()
    for text in ("The life of a model", "request-17", "operator", "not that a network forgot", "2: forget 1"):
        assert text in page, text
    done = invoke("ledger", "certificate", copied, 2, "--out", tmp_path / "two.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "two.html").read_text()
    subject = statements(copied)[1].digest
    for text in ("Certificate of forgetting: request-17", subject, "How to check this", "17"):
        assert text in page, text
    signed = (tmp_path / "two.intoto.json").read_bytes()
    assert signed == (copied / "log.intoto.jsonl").read_bytes().splitlines()[1]
    assert invoke("ledger", "certificate", copied, 4).exit_code == 2


def test_a_page_is_not_made_of_lines_that_are_not_signed(copied, invoke, tmp_path):
    (copied / "keys" / "operator.pub").write_text(public_pem(make_key(tmp_path / "x.key").public_key))
    done = invoke("ledger", "log", copied, "--html", tmp_path / "life.html")
    assert done.exit_code == 2
    assert not (tmp_path / "life.html").exists()


class TestWhatWasLearned:
    """A learning commits to its photos, and a request shows that its photos were among them."""

    @pytest.fixture
    def begun(self, life, invoke, tmp_path):
        """A ledger with the first run, that commits to its photos; the command fails where another number is given."""
        assert invoke("ledger", "init", tmp_path / "new", "--key", life / "life.key").exit_code == 0
        add = ("ledger", "add", tmp_path / "new", life / "learned", "--key", life / "life.key")
        refused = invoke(*add, "--records", life / "train", "--opening", tmp_path / "learned.json")
        assert refused.exit_code == 2
        assert "the run learned 16 records, 48 are given" in refused.output
        assert not (tmp_path / "learned.json").exists()
        for name in sorted(ORDER[:2]):
            shutil.copytree(life / "train" / name, tmp_path / "photos" / name)
        done = invoke(*add, "--records", tmp_path / "photos", "--opening", tmp_path / "learned.json")
        assert done.exit_code == 0, done.output
        return tmp_path

    def test_a_receipt_names_both_lines(self, life, begun, invoke):
        add = ("ledger", "add", begun / "new", life / "request-17", "--key", life / "life.key")
        openings = ("--opening", begun / "17.json", "--learned", begun / "learned.json")
        done = invoke(*add, "--records", life / "out", *openings)
        assert done.exit_code == 0, done.output
        photo = life / "out" / "elm" / "00.png"
        make = ("ledger", "receipts", begun / "new", begun / "17.json", begun / "receipts", "--records", life / "out")
        done = invoke(*make, "--learned", begun / "learned.json")
        assert done.exit_code == 0, done.output
        assert f"receipts of line 2: 1 in {begun / 'receipts'}" in done.output
        receipt = begun / "receipts" / "elm" / "00.png.receipt.json"
        done = invoke(
            "ledger", "verify", begun / "new", *trusted(begun / "new"), "--record", photo, "--receipt", receipt
        )
        assert done.exit_code == 0, done.output
        assert "line 2 (forget) covers 00.png by its file and pixels; line 1 had learned it" in done.output

    def test_receipts_are_made_only_for_what_the_run_forgot(self, life, begun, invoke):
        """As many other photos, which were learned too: a wrong folder is enough, no lie is needed."""
        (begun / "others" / "elm").mkdir(parents=True)
        shutil.copy(life / "train" / "elm" / "01.png", begun / "others" / "elm")
        add = ("ledger", "add", begun / "new", life / "request-17", "--key", life / "life.key")
        options = ("--learned", begun / "learned.json", "--receipts", begun / "receipts")
        done = invoke(*add, "--records", begun / "others", *options)
        assert done.exit_code == 2
        assert "elm/01.png is not a record that the run forgot" in " ".join(done.output.split())
        assert not (begun / "receipts").exists()
        assert len(statements(begun / "new")) == 1

    def test_a_receipt_of_learning_is_not_one_of_forgetting(self, life, begun, invoke):
        make = ("ledger", "receipts", begun / "new", begun / "learned.json", begun / "all")
        assert invoke(*make).exit_code == 0
        photo = life / "train" / "elm" / "01.png"
        check = ("ledger", "verify", begun / "new", *trusted(begun / "new"), "--record", photo)
        receipt = ("--receipt", begun / "all" / "elm" / "01.png.receipt.json")
        done = invoke(*check, *receipt)
        assert done.exit_code == 18
        assert "line 1 covers the record, but is of kind learn, not forget" in done.output
        done = invoke(*check, *receipt, "--kind", "learn")
        assert done.exit_code == 0
        assert "line 1 (learn) covers 01.png by its file and pixels" in done.output

    def test_the_model_must_follow_from_the_line_of_the_receipt(self, life, begun, invoke):
        """The model that still knows the photo, on another branch, does not pass with the receipt of the request."""
        key = ("--key", life / "life.key")
        add = ("ledger", "add", begun / "new")
        given = ("--records", life / "out", "--receipts", begun / "receipts")
        assert invoke(*add, life / "request-17", *given, *key).exit_code == 0
        assert invoke(*add, life / "learned", "--branch", "trial", *key).exit_code == 0
        proof = ("--record", life / "out" / "elm" / "00.png")
        proof += ("--receipt", begun / "receipts" / "elm" / "00.png.receipt.json")
        verify = ("ledger", "verify", begun / "new", *trusted(begun / "new"))
        done = invoke(*verify, "--model", life / "request-17", *proof)
        assert done.exit_code == 0, done.output
        assert invoke(*verify, "--model", life / "learned", *proof).exit_code == 15
        done = invoke(*verify, "--model", life / "learned", "--branch", "trial", *proof)
        assert done.exit_code == 18
        assert "the model of branch 'trial' does not follow from line 2" in done.output
        done = invoke(*verify, "--model", life / "learned", "--branch", "main-2")
        assert done.exit_code == 15
        assert "no line left a model on the branch 'main-2'; branches: main, trial" in done.output

    def test_receipts_of_all_records(self, begun, invoke):
        done = invoke("ledger", "receipts", begun / "new", begun / "learned.json", begun / "receipts")
        assert done.exit_code == 0, done.output
        assert len(list((begun / "receipts").rglob("*.receipt.json"))) == 16

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--records", "PHOTOS"), "'records' goes with 'receipts' or 'opening'"),
            (("--opening", "new.json"), "'records' goes with 'receipts' or 'opening'"),
            (("--learned", "learned.json"), "'learned' goes with 'records'"),
            (("--records", "OTHER", "--opening", "new.json", "--learned", "learned.json"), "in none of these"),
            (("--records", "PHOTOS", "--opening", "learned.json", "--learned", "learned.json"), "exists already"),
            (("--records", "PHOTOS", "--opening", "new.json", "--learned", "none.json"), "no such file"),
            (("--records", "PHOTOS", "--opening", "new/x.json"), "lies in the ledger"),
            (("--records", "PHOTOS", "--opening", "new.json", "--receipts", "OTHER"), "exists already"),
        ],
    )
    def test_a_mistake_adds_nothing(self, options, message, life, begun, invoke, tmp_path):
        (tmp_path / "other" / "elm").mkdir(parents=True)
        shutil.copy(life / "test" / "elm" / "00.png", tmp_path / "other" / "elm")
        given = {"PHOTOS": life / "out", "OTHER": tmp_path / "other"}
        words = [given.get(word, begun / word if word.endswith(".json") else word) for word in options]
        done = invoke("ledger", "add", begun / "new", life / "request-17", "--key", life / "life.key", *words)
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.output.split())
        assert len(statements(begun / "new")) == 1
        assert not (begun / "new.json").exists()

    def test_a_key_of_another_ledger_makes_no_receipts(self, begun, invoke, copied):
        done = invoke("ledger", "receipts", copied, begun / "learned.json", begun / "receipts")
        assert done.exit_code == 2
        assert "has these commitments" in done.output
        assert not (begun / "receipts").exists()


class TestExport:
    def test_both_formats(self, copied, invoke, tmp_path):
        done = invoke("ledger", "export", copied, "--cyclonedx", tmp_path / "bom.json")
        assert done.exit_code == 0, done.output
        component = json.loads((tmp_path / "bom.json").read_text())["metadata"]["component"]
        last = statements(copied)[-1]
        assert component["hashes"][0]["content"] == last.digest
        assert {one["name"] for one in component["components"]} == set(last.predicate.files)
        metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        (row,) = last.predicate.verdict["learnt_basis"]
        assert metrics[0]["type"] == f"learnt basis: {row['name'].replace('_', ' ')}"
        assert float(metrics[0]["value"]) == pytest.approx(row["value"]["mean"], abs=1e-5)
        assert float(metrics[0]["confidenceInterval"]["upperBound"]) == pytest.approx(row["value"]["high"], abs=1e-5)
        done = invoke("ledger", "export", copied, "--model-card", tmp_path / "card.md")
        assert done.exit_code == 0, done.output
        assert "# again" in (tmp_path / "card.md").read_text()

    def test_refused(self, copied, invoke, tmp_path):
        (tmp_path / "there.json").write_text("mine")
        log = copied / "log.intoto.jsonl"
        for words, message in (
            ((), "give --cyclonedx, --model-card, --scitt or --attestation"),
            (
                ("--cyclonedx", tmp_path / "a", "--model-card", tmp_path / "b"),
                "give --cyclonedx, --model-card, --scitt or --attestation",
            ),
            (("--cyclonedx", tmp_path / "there.json"), "already exists; --overwrite replaces it"),
            (("--cyclonedx", copied / "head.json", "--overwrite"), "lies in the ledger"),
            (("--cyclonedx", tmp_path / "new.json", "--branch", "x"), "no line left a model on the branch 'x'"),
        ):
            done = invoke("ledger", "export", copied, *words)
            assert done.exit_code == 2, words
            assert message in done.output
        assert (tmp_path / "there.json").read_text() == "mine"
        log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
        done = invoke("ledger", "export", copied, "--cyclonedx", tmp_path / "new.json")
        assert done.exit_code == 2
        assert len(done.output.splitlines()) == 1
        assert "does not verify (signatures)" in done.output
        assert not (tmp_path / "new.json").exists()

    def test_a_page_never_replaces_a_file_of_the_ledger(self, copied, invoke):
        before = (copied / "head.json").read_bytes()
        for words in (("log", copied, "--html"), ("certificate", copied, 2, "--out")):
            done = invoke("ledger", *words, copied / "head.json")
            assert done.exit_code == 2
            assert "lies in the ledger" in done.output
        assert (copied / "head.json").read_bytes() == before


def test_a_release(life, copied, invoke, tmp_path):
    key = ("--key", life / "life.key")
    done = invoke(
        "ledger", "release", copied, life / "again", "--file", life / "again" / "report.html", "--to", "Elm Ltd", *key
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("line 4: release, model ")
    last = statements(copied)[-1].predicate
    assert (last.recipient, set(last.evidence)) == ("Elm Ltd", {"report.html"})
    # The next run still follows from line 3, and the model of the newest line is the one that was released.
    done = invoke("ledger", "verify", copied, *trusted(copied), "--model", life / "again")
    assert done.exit_code == 0, done.output
    done = invoke("ledger", "release", copied, life / "learned", *key)
    assert done.exit_code == 0, done.output
    assert (
        "line 5: the model that others were given is from before the forgetting"
        in invoke("ledger", "log", copied).output
    )
    for model, message in (
        (life / "train", "is not the model that a line left"),
        (tmp_path / "no", "no such directory"),
    ):
        refused = invoke("ledger", "release", copied, model, *key)
        assert refused.exit_code == 2
        assert message in refused.output
    assert len(statements(copied)) == 5


class TestTimeStamps:
    def test_what_is_asked_for_wrongly(self, copied, invoke, tmp_path):
        for words, message in (
            ((), "give --request, and after the authority has answered --response"),
            (("--request", tmp_path / "a", "--response", tmp_path / "b"), "give --request"),
            (("--request", copied / "head.json"), "lies in the ledger"),
            (("--response", tmp_path / "none"), "no such file of a response"),
        ):
            done = invoke("ledger", "timestamp", copied, *words)
            assert done.exit_code == 2, words
            assert message in done.output

    def test_a_request_and_a_check_without_a_time_stamp(self, copied, invoke, tmp_path):
        pytest.importorskip("rfc3161_client")
        done = invoke("ledger", "timestamp", copied, "--request", tmp_path / "head.tsq")
        assert done.exit_code == 0, done.output
        assert hashlib.sha256((copied / "head.json").read_bytes()).digest() in (tmp_path / "head.tsq").read_bytes()
        (tmp_path / "wrong.tsr").write_bytes(b"{}")
        refused = invoke("ledger", "timestamp", copied, "--response", tmp_path / "wrong.tsr")
        assert refused.exit_code == 2
        assert "is no time-stamp response" in refused.output
        assert invoke("ledger", "verify", copied, *trusted(copied)).exit_code == 0

    def test_time_stamps_that_nobody_checked_are_named(self, copied, invoke):
        (copied / "timestamps").mkdir()
        (copied / "timestamps" / "3.tsr").write_bytes(b"")
        done = invoke("ledger", "verify", copied, *trusted(copied))
        assert done.exit_code == 0
        assert "1 time stamps were not checked" in done.output


def test_a_certificate_for_the_person(copied, invoke, tmp_path):
    done = invoke("ledger", "certificate", copied, 2, "--out", tmp_path / "two.html", "--person", tmp_path / "me.html")
    assert done.exit_code == 0, done.output
    assert f"for the person: {tmp_path / 'me.html'}" in done.output
    page = (tmp_path / "me.html").read_text()
    assert "What became of your request" in page
    assert "1 picture be removed" in page
    answer = tmp_path / "answer.html"
    answer.write_text("a letter of mine")
    words = ("ledger", "certificate", copied, 2, "--out", tmp_path / "three.html", "--person", answer)
    for line in (words, ("ledger", "log", copied, "--html", answer)):
        done = invoke(*line)
        assert done.exit_code == 2
        assert "answer.html: already exists; --overwrite replaces it" in done.output
    assert (answer.read_text(), (tmp_path / "three.html").exists()) == ("a letter of mine", False)
    assert invoke(*words, "--overwrite").exit_code == 0
    assert "What became of your request" in answer.read_text()
    for line, person, message in (
        (1, tmp_path / "new.html", "line 1 is of no request"),
        (2, copied / "head.json", "lies in the ledger"),
        (2, tmp_path / "one.html", "is the certificate already"),
        (2, tmp_path / "one.intoto.json", "is the certificate already"),
    ):
        done = invoke("ledger", "certificate", copied, line, "--out", tmp_path / "one.html", "--person", person)
        assert done.exit_code == 2
        assert message in done.output
        assert not (tmp_path / "one.html").exists()


def test_a_repeated_command_after_a_full_disk_keeps_the_receipts(life, invoke, tmp_path, monkeypatch):
    """The line was written, the head was not: the receipts of the first command are the right ones."""
    from myosotis.ledger import Ledger

    key = ("--key", life / "life.key")
    assert invoke("ledger", "init", tmp_path / "new", *key).exit_code == 0
    add = ("ledger", "add", tmp_path / "new", life / "request-17", *key)
    add += ("--records", life / "out", "--receipts", tmp_path / "receipts")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_sign", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert invoke(*add).exit_code == 1
    assert invoke("ledger", "verify", tmp_path / "new", *trusted(tmp_path / "new")).exit_code == 13
    done = invoke(*add)
    assert done.exit_code == 0, done.output
    assert "line 1: an append was interrupted, and is completed now" in done.output
    assert len(statements(tmp_path / "new")) == 1
    proof = ("--record", life / "out" / "elm" / "00.png")
    proof += ("--receipt", tmp_path / "receipts" / "elm" / "00.png.receipt.json")
    assert invoke("ledger", "verify", tmp_path / "new", *trusted(tmp_path / "new"), *proof).exit_code == 0
    assert "line 1 already records this run" in add_again(invoke, add, tmp_path)


def add_again(invoke, words, folder):
    done = invoke(*words[:-1], folder / "others")
    assert done.exit_code == 2
    return done.output


class TestWitnesses:
    """A checkpoint that two of three witnesses have cosigned, none of whom has seen a line."""

    @pytest.fixture
    def witnessed(self, life, copied, invoke, tmp_path):
        key = ("--key", life / "life.key")
        for name in ("anna", "ben", "carl"):
            assert invoke("ledger", "make-key", tmp_path / f"{name}.key").exit_code == 0
            added = invoke("ledger", "key", copied, tmp_path / f"{name}.pub", "--role", "witness", *key)
            assert added.exit_code == 0, added.output
        done = invoke("ledger", "checkpoint", copied, "--request", tmp_path / "request", *key)
        assert done.exit_code == 0, done.output
        for name in ("anna", "ben"):
            assert self.cosign(invoke, tmp_path, name, "request", copied).exit_code == 0
            done = invoke("ledger", "checkpoint", copied, "--answer", tmp_path / f"{name}-request")
            assert done.exit_code == 0, done.output
            assert f"cosigned by {name} on 2" in done.output
        return copied

    def cosign(self, invoke, folder, name, request, ledger):
        words = ("ledger", "witness", folder / request, folder / f"{name}-{request}")
        return invoke(*words, "--key", folder / f"{name}.key", "--operator", ledger / "keys" / "operator.pub")

    def verify(self, invoke, ledger, folder, *names, more=()):
        words = [word for name in names for word in ("--witness", folder / f"{name}.pub")]
        return invoke("ledger", "verify", ledger, *trusted(ledger), *words, *more)

    def test_a_quorum(self, witnessed, invoke, tmp_path):
        done = self.verify(invoke, witnessed, tmp_path, "anna", "ben")
        assert done.exit_code == 0, done.output
        assert "witnesses: 3 lines, cosigned by anna on 2" in done.output
        assert self.verify(invoke, witnessed, tmp_path, "anna", "ben", "carl").exit_code == 21
        done = self.verify(invoke, witnessed, tmp_path, "anna", "ben", "carl", more=("--quorum", 2))
        assert done.exit_code == 0, done.output
        assert self.verify(invoke, witnessed, tmp_path, "carl").exit_code == 21
        assert self.verify(invoke, witnessed, tmp_path, "anna", "anna", more=("--quorum", 2)).exit_code == 21
        assert self.verify(invoke, witnessed, tmp_path, "anna", more=("--quorum", 2)).exit_code == 2
        done = invoke("ledger", "verify", witnessed, *trusted(witnessed))
        assert done.exit_code == 0
        assert "a checkpoint of 3 lines; no witness was named" in done.output

    def test_lines_that_came_later_need_another_checkpoint(self, life, witnessed, invoke, tmp_path):
        key = ("--key", life / "life.key")
        assert invoke("ledger", "release", witnessed, life / "again", *key).exit_code == 0
        done = self.verify(invoke, witnessed, tmp_path, "anna")
        assert done.exit_code == 21
        assert "checkpoint: is of 3 lines, the ledger has 4" in done.output
        words = ("ledger", "checkpoint", witnessed, "--request", tmp_path / "second", *key)
        assert invoke(*words).exit_code == 0
        done = self.cosign(invoke, tmp_path, "anna", "second", witnessed)
        assert done.exit_code == 2
        assert "the newest checkpoint here has size 3, not 0" in done.output
        assert invoke(*words, "--old-size", 3).exit_code == 2  # it would replace the first request
        assert invoke(*words, "--old-size", 3, "--overwrite").exit_code == 0
        assert self.cosign(invoke, tmp_path, "anna", "second", witnessed).exit_code == 0
        assert invoke("ledger", "checkpoint", witnessed, "--answer", tmp_path / "anna-second").exit_code == 0
        assert self.verify(invoke, witnessed, tmp_path, "anna").exit_code == 0

    def test_a_fork_is_not_cosigned(self, life, witnessed, invoke, tmp_path):
        """Both have the operator's key; only one of them has the witness."""
        key = ("--key", life / "life.key")
        shutil.copytree(witnessed, tmp_path / "fork")
        for ledger, model, name in ((witnessed, "again", "one"), (tmp_path / "fork", "learned", "other")):
            assert invoke("ledger", "release", ledger, life / model, *key).exit_code == 0
            words = ("ledger", "checkpoint", ledger, "--request", tmp_path / name, "--old-size", 3, *key)
            assert invoke(*words).exit_code == 0
        assert self.cosign(invoke, tmp_path, "anna", "one", witnessed).exit_code == 0
        done = self.cosign(invoke, tmp_path, "anna", "other", witnessed)
        assert done.exit_code == 2
        assert "not cosigned" in done.output
        assert not (tmp_path / "anna-other").exists()
        assert self.verify(invoke, tmp_path / "fork", tmp_path, "anna").exit_code == 21

    def test_a_roll_back_is_noticed(self, life, witnessed, invoke, tmp_path):
        shutil.copytree(witnessed, tmp_path / "old")
        (tmp_path / "old" / "checkpoint").unlink()
        assert self.verify(invoke, tmp_path / "old", tmp_path, "anna").exit_code == 21
        log = tmp_path / "old" / "log.intoto.jsonl"
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
        shutil.copy(witnessed / "checkpoint", tmp_path / "old")
        assert self.verify(invoke, tmp_path / "old", tmp_path, "anna").exit_code == 13

    def test_mistakes(self, life, witnessed, invoke, tmp_path):
        (tmp_path / "wrong").write_text("x")
        key = ("--key", life / "life.key")
        for words, message in (
            (("checkpoint", witnessed, "--answer", tmp_path / "none"), "no such file of an answer"),
            (("checkpoint", witnessed, "--answer", tmp_path / "wrong"), "wrong: "),
            (("checkpoint", witnessed, "--request", witnessed / "x", *key), "lies in the ledger"),
            (("checkpoint", witnessed, "--key", tmp_path / "anna.key"), "an operator signs checkpoints"),
        ):
            done = invoke("ledger", *words)
            assert done.exit_code == 2, words
            assert message in done.output
        (witnessed / "checkpoint").write_text("x")
        assert invoke("ledger", "verify", witnessed, *trusted(witnessed)).exit_code == 21


class TestAttestations:
    def test_provenance_of_a_model_is_signed_and_names_nobody(self, life, copied, invoke, tmp_path):
        from myosotis.ledger import Ledger
        from myosotis.ledger.envelopes import LINE, opened

        words = ("--attestation", tmp_path / "a.json", "--line", 2, "--issuer", "https://example.com/trainer")
        done = invoke("ledger", "export", copied, *words, "--key", life / "life.key")
        assert done.exit_code == 0, done.output
        content, _ = opened((tmp_path / "a.json").read_bytes(), LINE, Ledger(copied).keys)
        line = statements(copied)[1]
        assert content["predicateType"] == "https://slsa.dev/provenance/v1"
        assert content["subject"] == [{"name": "model", "digest": {"sha256": line.digest}}]
        digests = {one["name"]: one["digest"]["sha256"] for one in content["predicate"]["runDetails"]["byproducts"]}
        assert digests == line.predicate.evidence

    def test_a_statement_of_scitt_holds(self, life, copied, invoke, tmp_path):
        pytest.importorskip("cbor2")
        from myosotis.ledger import Ledger
        from myosotis.ledger.scitt import verify_statement

        words = ("--scitt", tmp_path / "a.cose", "--line", 2, "--issuer", "https://example.com")
        done = invoke("ledger", "export", copied, *words, "--key", life / "life.key")
        assert done.exit_code == 0, done.output
        ledger = Ledger(copied)
        (registered,) = verify_statement((tmp_path / "a.cose").read_bytes(), ledger.keys, ledger.keys)
        assert registered.line == list(ledger.lines())[1]
        assert (registered.index, registered.size) == (1, 3)

    def test_mistakes(self, life, copied, invoke, tmp_path):
        key = ("--key", life / "life.key")
        out = ("--attestation", tmp_path / "a.json")
        for words, message in (
            (out, "--line and --issuer go with"),
            (("--cyclonedx", tmp_path / "b.json", "--line", 1), "--line and --issuer go with"),
            ((*out, "--line", 9, "--issuer", "https://e.com"), "has 3 lines"),
            ((*out, "--line", 1, "--issuer", "nobody"), "the builder is a URI"),
        ):
            done = invoke("ledger", "export", copied, *words, *key)
            assert done.exit_code == 2, words
            assert message in done.output
        assert not (tmp_path / "a.json").exists()

    @pytest.mark.parametrize("kind", ["attestation", "scitt"])
    def test_an_auditor_attests_no_training(self, kind, life, copied, invoke, tmp_path):
        assert invoke("ledger", "make-key", tmp_path / "auditor.key").exit_code == 0
        assert invoke("ledger", "key", copied, tmp_path / "auditor.pub", "--key", life / "life.key").exit_code == 0
        words = (f"--{kind}", tmp_path / "a", "--line", 2, "--issuer", "https://e.com")
        done = invoke("ledger", "export", copied, *words, "--key", tmp_path / "auditor.key")
        assert done.exit_code == 2, done.output
        assert "needs an operator" in done.output
        assert not (tmp_path / "a").exists()
