"""Selection of an epoch: by which score, over a resume, on which weights."""

import pytest
import torch

from myosotis.data.encoding import Encoder
from myosotis.unlearning.language import Selection, UnlearnTrainer


@pytest.fixture(scope="session")
def selecting_trainer(forget_records, lora, retain_records, settings_for, tiny_llama):
    def selecting_trainer(path, tokenizer, epochs, **changes):
        encoder = Encoder(tokenizer, max_length=512)
        selection = Selection(
            [encoder(r) for r in forget_records], [encoder(r) for r in retain_records], unseen_level=0.0
        )
        return UnlearnTrainer(
            tiny_llama(),
            settings_for(path, num_train_epochs=epochs, learning_rate=2e-2, **changes),
            forget_records,
            retain_records,
            tokenizer,
            lora(),
            selection=selection,
        )

    return selecting_trainer


def test_the_best_epoch_by_the_declared_criterion_is_taken(tokenizer, tmp_path, selecting_trainer, weights):
    trainer = selecting_trainer(tmp_path, tokenizer, 6, save_strategy="epoch")
    trainer.train()
    scores = [entry["selection_score"] for entry in trainer.state.log_history if "selection_score" in entry]
    assert len(scores) == 6
    assert trainer.selected_epoch == 1 + max(range(6), key=lambda place: (scores[place], -place))
    assert trainer.selection.measure(trainer.model)["selection_score"] == pytest.approx(max(scores), abs=1e-6)
    # A resumed run knows what was selected before it was interrupted.
    again = selecting_trainer(tmp_path, tokenizer, 6)
    again.train(resume_from_checkpoint=tmp_path / "step-8")
    assert again.selected_epoch == trainer.selected_epoch
    for name, value in weights(trainer).items():
        assert torch.equal(weights(again)[name], value)


def test_the_two_criteria():
    example = one_example()
    harmonic = Selection([example], [example], 0.2)
    assert harmonic.score(0.2, 1.0) == 1.0
    assert harmonic.score(0.0, 1.0) < 1.0  # knowing less than unseen text shows, too
    first = Selection([example], [example], 0.2, "forgotten_first")
    assert first.score(0.2, 0.1) > first.score(0.21, 1.0)
    assert first.score(0.1, 0.9) > first.score(0.0, 0.8)
    # What the verdict lets be left counts as forgotten here, too.
    lenient = Selection([example], [example], 0.2, "forgotten_first", margin=0.1)
    assert lenient.score(0.3, 0.9) > 1 > lenient.score(0.31, 0.9)


def one_example():
    from myosotis.data.encoding import Example

    return Example((1, 2), (1, 2), (False, True))
