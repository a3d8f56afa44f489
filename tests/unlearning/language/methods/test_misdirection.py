"""RMU: which hidden states it reads, towards what, and what it refuses."""

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.misdirection import squared_distance, steering_vector


def test_squared_distance_counts_labelled_positions_only():
    hidden = torch.tensor([[[1.0, 3.0], [5.0, 5.0], [0.0, 2.0]]])
    labels = torch.tensor([[4, IGNORED, 2]])
    torch.testing.assert_close(squared_distance(hidden, torch.zeros(2), labels), torch.tensor([[5.0, 0.0, 2.0]]))


def test_the_steering_vector_is_fixed_by_its_seed():
    assert torch.equal(steering_vector(8, 2.0, seed=3), steering_vector(8, 2.0, seed=3))
    assert not torch.equal(steering_vector(8, 2.0, seed=3), steering_vector(8, 2.0, seed=4))
    assert (steering_vector(8, 2.0) >= 0).all()


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_rmu_reads_the_output_of_the_block_that_it_names(make, tokenizer, tmp_path, tiny_llama, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, make, peft=False, method="rmu", method_settings={"block": 0})
    seen = {}
    blocks = trainer.model.model.layers if make is tiny_llama else trainer.model.transformer.h

    def hook(module, inputs, output):
        seen["out"] = output[0] if isinstance(output, tuple) else output

    handle = blocks[0].register_forward_hook(hook)
    batch = trainer.data_collator([(0, (1,)), (1, (2,))])
    with torch.no_grad():
        shifted = trainer.forward_pass(trainer.model, batch)
    handle.remove()
    labels = batch["labels"][:, 1:]
    torch.testing.assert_close(shifted.hidden[0][shifted.labels != IGNORED], seen["out"][:, :-1][labels != IGNORED])
    # Nothing has moved yet, so the retain term is 0.
    sides = trainer.step_loss.sides(shifted, batch)
    assert trainer.terms[1][1].items(sides).abs().max() < 1e-6


def test_rmu_refuses_a_block_that_is_not_there(tokenizer, tmp_path, trainer_for):
    with pytest.raises(ValueError, match="blocks 0 to 0"):
        trainer_for(tmp_path, tokenizer, method="rmu")
