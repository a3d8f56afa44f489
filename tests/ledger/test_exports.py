"""Exports: a bill of materials and a model card with the figures of the lines."""

import json
import re
from dataclasses import replace
from uuid import UUID

import pytest
import yaml
from huggingface_hub import ModelCard

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger
from myosotis.ledger.cyclonedx import bill_of_materials
from myosotis.ledger.destruction import destroy
from myosotis.ledger.figures import figures_of
from myosotis.ledger.model_card import model_card
from myosotis.ledger.recorded import check_output, recorded_model

VERDICT = {
    "known": True,
    "forgotten": True,
    "kept": None,
    "reasons": {"kept": "nothing_to_compare"},
    "forgetting_criteria": [
        {"name": "fact_accuracy", "value": 0.125, "low": 0.03, "high": 0.4, "threshold": 0.2, "margin": 0.05},
        {"name": "extraction_likelihood", "value": None, "low": None, "high": None},
        {"name": "alone", "value": 1, "low": None, "high": None},
    ],
    "goal_reached": {"mean": 0.9, "low": 0.8, "high": 0.95, "count": 20},
    "unseen": {"auc": 0.51, "auc_low": 0.45, "auc_high": 0.57, "level": 0.3},
    "confidence": 0.95,
}
HOSTILE = "](x)\n---\ntags: [evil]\n<script>alert(1)</script> | `a` **b** https://evil.example \x1b[31m\u202e&lt;b&gt;"


@pytest.fixture
def model(life, signer, claimed):
    life.append(claimed("forget", "b", "c", verdict=VERDICT), signer)
    return recorded_model(life)


def test_figures_are_those_with_an_interval_and_rows_without_one():
    assert [(one.measure, one.value, one.low, one.high, one.reference) for one in figures_of(VERDICT)] == [
        ("forgetting criteria: fact accuracy", 0.125, 0.03, 0.4, 0.2),
        ("forgetting criteria: alone", 1.0, None, None, None),
        ("goal reached", 0.9, 0.8, 0.95, None),
        ("unseen: auc", 0.51, 0.45, 0.57, None),
    ]
    assert figures_of(None) == []
    assert figures_of({"value": True, "low": 0, "high": 1, "more": [1, "x", None, [[]]]}) == []
    odd = figures_of({"keeping": [{"name": "test", "value": {"mean": 0.9}, "against": 7}]})
    assert [(one.value, one.reference) for one in odd] == [(0.9, None)]


def test_a_model_has_its_past_and_what_was_said_about_it(life, signer, claimed):
    model = recorded_model(life)
    assert model.line.line == 2
    assert [one.line for one in model.before] == [1]
    assert [one.line for one in model.about] == [3]
    assert model.remarks == [
        "line 2: no line since says that copies, checkpoints or the model before were destroyed",
    ]
    life.append(claimed("learn", None, "x"), signer, "trial")
    other = recorded_model(life, "trial")
    assert (other.line.line, other.before, other.about) == (4, [], [])
    assert other.remarks == ["line 4: its model began outside this ledger"]


class TestRefused:
    def test_an_unknown_branch(self, life):
        with pytest.raises(InputError, match="no line left a model on the branch 'x'; branches: main"):
            recorded_model(life, "x")

    def test_an_empty_ledger(self, signer, tmp_path):
        with pytest.raises(InputError, match="on the branch 'main'; branches: none"):
            recorded_model(Ledger.create(tmp_path / "new", signer))

    def test_a_ledger_of_destruction_alone(self, signer, tmp_path):
        ledger = Ledger.create(tmp_path / "new", signer)
        (tmp_path / "old.bin").write_bytes(b"old")
        destroy(ledger, [tmp_path / "old.bin"], signer, tmp_path / "pending.json")
        with pytest.raises(InputError, match="no line left a model"):
            recorded_model(ledger)

    def test_a_broken_ledger(self, life):
        log = life.path / "log.intoto.jsonl"
        log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
        with pytest.raises(InputError, match=r"does not verify \(signatures\): .*line 1"):
            recorded_model(life)

    def test_a_file_of_the_ledger_and_one_that_is_there(self, life, tmp_path):
        (tmp_path / "there").write_text("mine")
        (tmp_path / "way").symlink_to(life.path)
        for path in (life.path / "head.json", life.path / "new.json", tmp_path / "way" / "head.json"):
            for overwrite in (False, True):
                with pytest.raises(InputError, match="lies in the ledger"):
                    check_output(life, path, overwrite=overwrite)
        with pytest.raises(InputError, match="already exists; --overwrite replaces it"):
            check_output(life, tmp_path / "there", overwrite=False)
        with pytest.raises(InputError, match="is a directory"):
            check_output(life, tmp_path, overwrite=True)
        check_output(life, tmp_path / "there", overwrite=True)
        check_output(life, tmp_path / "new", overwrite=False)


class TestBill:
    def test_its_shape(self, model):
        bill = bill_of_materials(model)
        assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 4)
        assert set(bill) == {"$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata"}
        assert UUID(bill["serialNumber"]).version == 5
        component = bill["metadata"]["component"]
        assert component["type"] == "machine-learning-model"
        digest = model.line.digest
        assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
        assert [one["name"] for one in component["components"]] == ["net"]
        assert [one["version"] for one in component["pedigree"]["ancestors"]] == ["line 2", "line 1"]
        assert [one["type"] for one in component["externalReferences"]] == ["evidence", "attestation"]
        references = [component, *component["components"], *component["pedigree"]["ancestors"]]
        assert len({one["bom-ref"] for one in references}) == len(references)

    def test_its_figures_have_their_intervals(self, model):
        card = bill_of_materials(model)["metadata"]["component"]["modelCard"]
        first, alone, *_ = card["quantitativeAnalysis"]["performanceMetrics"]
        assert first == {
            "type": "forgetting criteria: fact accuracy",
            "value": "0.125",
            "slice": "line 4: forget",
            "confidenceInterval": {"lowerBound": "0.03", "upperBound": "0.4"},
        }
        assert set(alone) == {"type", "value", "slice"}
        assert {"name": "myosotis:verdict:line 4:kept", "value": "unknown"} in card["properties"]
        limits = card["considerations"]["technicalLimitations"]
        assert "line 4: no answer to: Is the rest kept?" in limits
        assert any("not that a network forgot" in limit for limit in limits)

    def test_equal_ledgers_have_equal_bills(self, model, life):
        assert json.dumps(bill_of_materials(model)) == json.dumps(bill_of_materials(recorded_model(life)))

    def test_a_branch_has_a_serial_number_of_its_own(self, life, signer, claimed):
        main = bill_of_materials(recorded_model(life))["serialNumber"]
        life.append(claimed("learn", None, "x"), signer, "trial")
        assert bill_of_materials(recorded_model(life))["serialNumber"] == main
        assert bill_of_materials(recorded_model(life, "trial"))["serialNumber"] != main

    def test_the_request_is_not_in_it(self, life, signer, claimed):
        life.append(claimed("forget", "b", "c", request={"id": "R-17", "received": "2026-11-02"}), signer)
        for text in (json.dumps(bill_of_materials(recorded_model(life))), model_card(recorded_model(life))):
            assert "R-17" not in text
            assert "2026-11-02" not in text

    @pytest.mark.slow
    def test_the_schema_of_cyclonedx(self, model, life, signer, claimed):
        """Needs ``pip install 'cyclonedx-python-lib[json-validation]'``, which has the schema."""
        pytest.importorskip("cyclonedx.validation.json")
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        validator = JsonStrictValidator(SchemaVersion.V1_6)

        def faults(bill):
            try:
                return validator.validate_str(json.dumps(bill))
            except MissingOptionalDependencyException:
                pytest.skip("the validator of cyclonedx-python-lib is not installed")

        bill = bill_of_materials(model)
        assert faults(bill) is None
        assert faults({**bill, "version": 0}) is not None
        life.append(replace(claimed("learn", None, HOSTILE), files={}), signer, "trial")
        assert faults(bill_of_materials(recorded_model(life, "trial"))) is None


class TestCard:
    def test_its_figures_are_those_of_the_lines(self, model):
        text = model_card(model)
        assert "| 4 | forgetting criteria: fact accuracy | 0.125 | 0.03 to 0.4 | 0.2 |" in text
        assert "| 4 | forgetting criteria: alone | 1 | none | none |" in text
        assert "| 4 | Is the rest kept? | unknown |" in text
        assert re.findall(r"^\| (\d) \| \S+Z \| (\w+)", text, re.M) == [
            ("1", "learn"),
            ("2", "forget"),
            ("4", "forget"),
        ]
        assert model.line.digest in text
        assert ModelCard(text).data.tags == ["myosotis", "forget", "er"]

    def test_a_hostile_name_stays_text(self, life, signer, claimed):
        claim = claimed(
            "forget", "b", HOSTILE, verdict={"kept": True, "x": {"name": HOSTILE, "value": 1, "low": 0, "high": 1}}
        )
        claim = replace(claim, facts={**claim.facts, "run": {"name": HOSTILE, "kind": HOSTILE, "method": HOSTILE}})
        life.append(claim, signer)
        text = model_card(recorded_model(life))
        head, body = text.split("\n---\n", 1)
        assert set(yaml.safe_load(head.removeprefix("---\n"))) == {"library_name", "tags"}
        assert "---" not in re.sub(r"\| --- ", "", body).splitlines()
        assert not set(body) & set("<>\x1b\u202e")
        assert "evil" not in re.sub(r"\\:|\\\[", "", body) or "https\\://evil" in body
        rows = [line for line in body.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4, 6}
        bill = json.dumps(bill_of_materials(recorded_model(life)), ensure_ascii=False)
        assert "\x1b" not in bill
        assert "\u202e" not in bill
