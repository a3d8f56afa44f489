"""The audit of a model on sets of records."""

import pytest
import torch

from myosotis.data.encoding import IGNORED, Example
from myosotis.unlearning.language import greedy_answers
from myosotis.unlearning.language.audit.answers import rouge_l_recall
from myosotis.unlearning.language.audit.audit import audit_model
from myosotis.unlearning.language.audit.sets import AuditSets


def test_an_audit_recalls_a_long_answer_whole_that_the_model_knows_by_heart(tokenizer, tiny_llama):
    model = tiny_llama()
    examples = []
    for prompt in ([5, 9, 13], [40, 41]):
        ids = list(prompt)
        for _ in range(20):  # the model's own greedy answer
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        examples.append(Example(tuple(ids), (*(IGNORED,) * len(prompt), *ids[len(prompt) :]), (False,) * len(ids)))
    audited = audit_model(model, tokenizer, AuditSets(examples), n=3, max_new_tokens=4).metrics["forget"]

    def recall(lengths):
        said = greedy_answers(model, tokenizer, examples, max_new_tokens=lengths)
        return rouge_l_recall(tokenizer, examples, said).double().mean().item()

    assert audited["rouge_l_recall"]["mean"] == pytest.approx(recall(20))
    assert recall(4) < recall([4, 20]) < recall(20)
