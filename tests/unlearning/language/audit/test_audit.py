"""The audit of one model."""

import torch

from myosotis.data.encoding import Encoder
from myosotis.unlearning.language import memorization_by_n
from myosotis.unlearning.language.audit.answers import greedy_answers
from myosotis.unlearning.language.audit.audit import AuditSets, audit_model, measurable


def test_one_pass_answers_and_measures_memorisation_as_two_do(tokenizer, tiny_model, forget_records):
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    audit = audit_model(tiny_model, tokenizer, AuditSets(forget=examples), n=2, further_n=(1,), max_new_tokens=6)
    lengths = [max(6, len(example.input_ids) - example.response_start) for example in examples]
    assert audit.answers == greedy_answers(tiny_model, tokenizer, examples, max_new_tokens=lengths)
    long = measurable(examples, 2)
    accuracy, likelihoods = memorization_by_n(tiny_model, long.sequences, (2, 1), starts=long.starts)
    values = audit.values["forget"]
    torch.testing.assert_close(values["memorization_accuracy"][long.indices].float(), accuracy)
    for n, name in ((2, "extraction_likelihood"), (1, "extraction_likelihood_1")):
        torch.testing.assert_close(values[name][long.indices].float(), likelihoods[n])
