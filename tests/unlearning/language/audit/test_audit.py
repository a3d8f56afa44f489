"""The audit of one model."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from myosotis.data.encoding import Encoder
from myosotis.engine import processes
from myosotis.unlearning.language import calibrate_thresholds, memorization_by_n
from myosotis.unlearning.language.audit.answers import decoded, greedy_answers
from myosotis.unlearning.language.audit.audit import audit_model
from myosotis.unlearning.language.audit.memorization import measured_lengths, thresholds_of
from myosotis.unlearning.language.audit.sets import AuditSets, measurable
from myosotis.unlearning.language.audit.tofu import TofuRecord, tofu_log


def test_one_pass_answers_and_measures_memorisation_as_two_do(tokenizer, tiny_model, forget_records):
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    audit = audit_model(tiny_model, tokenizer, AuditSets(forget=examples), n=2, further_n=(1,), max_new_tokens=6)
    lengths = [max(6, len(example.input_ids) - example.response_start) for example in examples]
    said = [decoded(tokenizer, answer) for answer in audit.answers["forget"]]
    assert said == greedy_answers(tiny_model, tokenizer, examples, max_new_tokens=lengths)
    long = measurable(examples, 2)
    accuracy, likelihoods = memorization_by_n(tiny_model, long.sequences, (2, 1), starts=long.starts)
    values = audit.values["forget"]
    torch.testing.assert_close(values["memorization_accuracy"][long.indices].float(), accuracy)
    for n, name in ((2, "extraction_likelihood"), (1, "extraction_likelihood_1")):
        torch.testing.assert_close(values[name][long.indices].float(), likelihoods[n])


@pytest.mark.parametrize("world", [2, 3, 11])
def test_shares_of_several_processes_make_the_audit_of_one(world, tokenizer, tiny_model, forget_records, monkeypatch):
    """Threads stand for processes; with eleven, some have no record."""
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    sets = AuditSets(forget=examples, unseen=examples[:2], general=examples[:3])
    whole = audit_model(tiny_model, tokenizer, sets, n=2, further_n=(1,), max_new_tokens=6, batch_size=1)
    rows = [
        TofuRecord(record.prompt, record.response, ("Nobody knows.", "It is a secret."), f"Well, {record.response}")
        for record in forget_records
    ]
    log = tofu_log(tiny_model, tokenizer, Encoder(tokenizer), rows, max_new_tokens=6, batch_size=1)
    place, said, barrier = threading.local(), [None] * world, threading.Barrier(world, timeout=120)

    def gather(own):
        said[place.rank] = own[0]
        barrier.wait()
        everything = list(said)
        barrier.wait()
        return everything

    def measure(rank):
        place.rank = rank
        audit = audit_model(tiny_model, tokenizer, sets, n=2, further_n=(1,), max_new_tokens=6, batch_size=1)
        return audit, tofu_log(tiny_model, tokenizer, Encoder(tokenizer), rows, max_new_tokens=6, batch_size=1)

    monkeypatch.setattr(processes, "share", lambda: (place.rank, world))
    monkeypatch.setattr(processes, "gather_object", gather)
    with ThreadPoolExecutor(world) as pool:
        (audit, shared_log), *others = pool.map(measure, range(world))
    assert all(other.metrics == audit.metrics for other, _ in others)
    assert audit.answers == whole.answers
    for split, values in whole.values.items():
        for name, row in values.items():
            torch.testing.assert_close(audit.values[split][name], row, equal_nan=True)
    assert audit.metrics["forget"].keys() == whole.metrics["forget"].keys()
    for field, values in log.items():
        assert list(shared_log[field]) == list(values)
        for key, value in values.items():
            assert shared_log[field][key] == pytest.approx(value)


def test_thresholds_of_an_audit_are_those_of_a_calibration(tokenizer, tiny_model, forget_records):
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    audit = audit_model(tiny_model, tokenizer, AuditSets(forget=examples, unseen=examples), n=2, prefixes={"unseen": 2})
    long = measurable(examples, 2)
    calibrated = calibrate_thresholds(tiny_model, long.sequences, 2, starts=long.starts, prefixes=2)
    values = audit.values["unseen"]
    of_audit = thresholds_of(
        values["memorization_accuracy"][long.indices],
        values["extraction_likelihood"][long.indices],
        measured_lengths(long.sequences, long.starts),
        2,
        prefixes=2,
    )
    assert of_audit == calibrated
