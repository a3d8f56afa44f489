"""The trained weights of a model, and the negation of their change."""

from functools import partial

import pytest
import torch
from transformers import TrainerCallback


@pytest.mark.parametrize("peft", [True, False])
def test_a_task_vector_goes_as_far_the_other_way(peft, tokenizer, tmp_path, trainer_for, weights):
    reached = {}

    def record(trainer, scale):
        reached[scale] = weights(trainer)

    for scale in (1.0, 0.5):
        trainer = trainer_for(
            tmp_path, tokenizer, method="task-vector", method_settings={"scale": scale}, peft=peft, max_grad_norm=1.0
        )
        start = weights(trainer)
        trainer.add_callback(AtEnd(partial(record, trainer, scale)))
        trainer.train()
        after = weights(trainer)
        learnt = reached[scale]
        for name, value in start.items():
            if ".lora_A." in name:
                assert torch.equal(after[name], learnt[name])
            else:
                torch.testing.assert_close(after[name], value - scale * (learnt[name] - value))
    assert any(not torch.equal(learnt[name], start[name]) for name in start)


class AtEnd(TrainerCallback):
    """Calls a function once training has ended, before anything is negated."""

    def __init__(self, call):
        self._call = call

    def on_train_end(self, args, state, control, **kwargs):
        self._call()
