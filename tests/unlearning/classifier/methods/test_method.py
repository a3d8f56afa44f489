import torch

from myosotis.unlearning.classifier.methods.method import step_indices


def test_an_epoch_sees_every_retained_sample_once_and_the_next_in_another_order():
    def epoch(first):
        return torch.cat([step_indices(10, 4, step, 0, "retain") for step in range(first, first + 3)]).tolist()

    assert sorted(epoch(0)) == list(range(10))
    assert sorted(epoch(3)) == list(range(10))
    assert epoch(0) != epoch(3)
