"""Low-rank adapters, of which every row of a batch has its own."""

import pytest
import torch

from myosotis.data.encoding import Encoder, pad_examples
from myosotis.data.people import fictitious_people
from myosotis.engine.errors import SettingsError
from myosotis.forgetting_learner.adapters.config import AdapterSettings, AdapterTraining
from myosotis.forgetting_learner.adapters.low_rank import Adapters, RowwiseLinear


@pytest.fixture
def examples(tokenizer):
    encoder = Encoder(tokenizer, max_length=128)
    return [encoder(record) for person in fictitious_people(3, seed=0) for record in person.records()[:2]]


def logits(model, examples):
    batch = pad_examples(examples, 0)
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def random_adapter(adapters, seed):
    torch.manual_seed(seed)
    return {name: 0.3 * torch.randn(shape) for name, shape in adapters.shapes().items()}


def test_an_adapter_starts_as_no_change_at_all(tiny_model, examples):
    plain = logits(tiny_model, examples)
    adapters = Adapters(tiny_model, AdapterSettings(rank=2))
    with adapters.active([adapters.start(0, "ann")]):
        assert torch.equal(logits(tiny_model, examples), plain)
    assert torch.equal(logits(tiny_model, examples), plain)


def test_rows_of_a_batch_are_answered_as_each_alone(tiny_model, examples):
    adapters = Adapters(tiny_model, AdapterSettings(rank=2))
    first, second = random_adapter(adapters, 0), random_adapter(adapters, 1)
    rows = [first, None, second, first, None, second]
    with adapters.active(rows):
        mixed = logits(tiny_model, examples)
    for index, row in enumerate(rows):
        with adapters.active([row]):
            alone = logits(tiny_model, [examples[index]])[0]
        assert torch.allclose(mixed[index, : len(alone)], alone, atol=1e-4)
    assert not torch.allclose(mixed[0], logits(tiny_model, examples)[0], atol=1e-3)


def test_the_change_is_that_of_lora():
    layer = RowwiseLinear(torch.nn.Linear(5, 3), 2.0)
    inputs, down, up = torch.randn(2, 4, 5), torch.randn(2, 2, 5), torch.randn(2, 3, 2)
    layer.down, layer.up = down, up
    for row in range(2):
        merged = layer.base.weight + 2.0 * up[row] @ down[row]
        expected = inputs[row] @ merged.T + layer.base.bias
        assert torch.allclose(layer(inputs)[row], expected, atol=1e-5)


def test_other_numbers_of_rows_are_refused():
    layer = RowwiseLinear(torch.nn.Linear(2, 2), 1.0)
    layer.down, layer.up = torch.zeros(3, 1, 2), torch.zeros(3, 2, 1)
    with pytest.raises(ValueError, match="beam search"):
        layer(torch.zeros(4, 1, 2))


def test_training_learns_and_depends_on_its_arguments_alone(tiny_model, examples, tokenizer):
    adapters = Adapters(tiny_model, AdapterSettings(rank=4, first_layer=0))
    settings = AdapterTraining(steps=30, batch_size=2, learning_rate=0.02, precision="no")
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    first = adapters.train(examples[:2], settings, 0, "ann", tokenizer)
    adapters.train(examples[2:4], settings, 0, "bo", tokenizer)
    again = adapters.train(examples[:2], settings, 0, "ann", tokenizer)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(value, tiny_model.state_dict()[name]) for name, value in before.items())
    batch = pad_examples(examples[:2], 0)
    plain = tiny_model(**batch).loss
    with adapters.active([first]):
        assert tiny_model(**batch).loss < plain / 2


def test_layers_are_chosen_by_name_and_by_block(llama):
    adapters = Adapters(llama, AdapterSettings(rank=2, first_layer=1, targets=("q_proj",)))
    assert set(adapters.shapes()) == {f"model.layers.1.self_attn.q_proj.{part}" for part in ("down", "up")}


def test_the_layers_of_the_mlp_of_the_upper_half_are_the_default(llama):
    names = {name.rpartition(".")[0] for name in Adapters(llama, AdapterSettings()).shapes()}
    assert names == {f"model.layers.1.mlp.{part}_proj" for part in ("gate", "up", "down")}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"targets": ("query",)}, "the linear layers are down_proj, gate_proj, k_proj"),
        ({"first_layer": 2}, "the model has 2 layers"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(llama, settings, match):
    with pytest.raises(SettingsError, match=match):
        Adapters(llama, AdapterSettings(**settings))
