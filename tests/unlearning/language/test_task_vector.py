"""Task-vector negation."""

import pytest
import torch
from test_trainer import trainer_for, weights


@pytest.mark.parametrize("peft", [True, False])
def test_a_task_vector_goes_as_far_the_other_way(peft, tokenizer, tmp_path):
    reached = {}
    for scale in (1.0, 0.5):
        trainer = trainer_for(
            tmp_path, tokenizer, method="task-vector", method_settings={"scale": scale}, peft=peft, max_grad_norm=1.0
        )
        start = weights(trainer)
        trainer.add_callback(_Recorder(trainer, reached, scale))
        trainer.train()
        after = weights(trainer)
        learnt = reached[scale]
        for name, value in start.items():
            if ".lora_A." in name:
                assert torch.equal(after[name], learnt[name])
            else:
                torch.testing.assert_close(after[name], value - scale * (learnt[name] - value))
    assert any(not torch.equal(learnt[name], start[name]) for name in start)


class _Recorder:
    def __new__(cls, trainer, reached, scale):
        from transformers import TrainerCallback

        class Recorder(TrainerCallback):
            def on_train_end(self, args, state, control, **kwargs):
                reached[scale] = weights(trainer)

        return Recorder()


def test_no_rule_or_fila_start_goes_with_a_task_vector(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="negates"):
        trainer_for(tmp_path, tokenizer, method="task-vector", lora_init="fila")
