"""The forward pass of a training step."""

import torch

from myosotis.data.encoding import IGNORED


def test_logits_are_computed_where_there_are_labels_only(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer)
    batch = trainer.data_collator([(0, (1,)), (3, (2,))])
    labels = batch["labels"][:, 1:]
    with torch.no_grad():
        whole = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        seen = trainer.forward_pass(trainer.model, batch)
    assert seen.logits.shape[1] == (labels != IGNORED).sum(dim=1).max()
    assert torch.equal(seen.labels[seen.labels != IGNORED], labels[labels != IGNORED])
    torch.testing.assert_close(seen.logits[seen.labels != IGNORED], whole[labels != IGNORED])
