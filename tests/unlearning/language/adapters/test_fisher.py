"""Fisher information against a loop over samples, closed forms and the Gram identity."""

import pytest
import torch
from torch import nn
from transformers import OPTConfig, OPTForCausalLM

from myosotis.unlearning.language import fisher_information, fisher_row_sums


def loop_fisher(model, batch, parameters):
    """One sample at a time, by autograd on the parameters."""
    total, tokens = {name: torch.zeros_like(p) for name, p in parameters.items()}, 0
    for row in range(len(batch["labels"])):
        labels = batch["labels"][row : row + 1, 1:]
        logits = model(input_ids=batch["input_ids"][row : row + 1]).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits[labels != -100], labels[labels != -100])
        count = int((labels != -100).sum())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += count * gradient.square()
        tokens += count
    return {name: value / tokens for name, value in total.items()}


NAMES = {
    "tiny_llama": ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"],
    "tiny_gpt2": ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_proj"],
}


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_fisher_is_the_loop_over_samples_and_touches_nothing(make, batch_of):
    model, names, batch = make(), NAMES[make.__name__], batch_of(0)
    model.train()
    model.lm_head.eval()
    model.get_parameter(f"{names[0]}.weight").requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    fisher = fisher_information(model, [batch], names)
    assert model.training
    assert not model.lm_head.training
    assert not model.get_parameter(f"{names[0]}.weight").requires_grad
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in model.named_parameters())
    model.eval().requires_grad_(True)
    expected = loop_fisher(model, batch, {name: model.get_parameter(f"{name}.weight") for name in names})
    for name in names:
        torch.testing.assert_close(fisher[name], expected[name], rtol=1e-4, atol=1e-9)
    in_parts = [{key: value[row : row + 1] for key, value in batch.items()} for row in range(3)]
    for name, value in fisher_information(model, in_parts, names).items():
        torch.testing.assert_close(value, fisher[name], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_row_sums_by_the_gram_identity(make, batch_of, tiny_gpt2):
    model, names, batch = make(), NAMES[make.__name__], batch_of(1)
    fisher, rows = fisher_information(model, [batch], names), fisher_row_sums(model, [batch], names)
    for name in names:
        out_dimension = 0 if make is tiny_gpt2 else 1
        torch.testing.assert_close(rows[name], fisher[name].sum(dim=out_dimension), rtol=1e-4, atol=1e-9)


class Softmax(nn.Module):
    """A linear softmax model over given features; returns plain logits."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4, bias=False)

    def forward(self, features):
        return self.linear(features)


def test_fisher_of_a_linear_softmax_model_is_the_mean_square_of_delta_x():
    torch.manual_seed(0)
    model, features = Softmax().double(), torch.randn(5, 2, 3, dtype=torch.float64)
    labels = torch.randint(4, (5, 2))
    fisher = fisher_information(model, [{"features": features, "labels": labels}], ["linear"])["linear"]
    delta = model(features[:, 0]).softmax(-1) - nn.functional.one_hot(labels[:, 1], 4)
    expected = torch.einsum("bo,bi->boi", delta, features[:, 0]).square().mean(0)
    torch.testing.assert_close(fisher, expected)


def test_opposite_gradients_do_not_cancel():
    model = Softmax().double()
    nn.init.zeros_(model.linear.weight)
    features = torch.tensor([[[1.0, 0, 0]] * 2, [[-1.0, 0, 0]] * 2], dtype=torch.float64)
    labels = torch.tensor([[0, 2], [0, 2]])
    fisher = fisher_information(model, [{"features": features, "labels": labels}], ["linear"])["linear"]
    torch.testing.assert_close(fisher[2], torch.tensor([0.75**2, 0, 0], dtype=torch.float64))


def test_fisher_refuses_what_is_not_linear(llama, batch_of):
    with pytest.raises(ValueError, match="there is no such module"):
        fisher_information(llama, [batch_of(0)], ["model.layers.9"])
    unlabelled = {**batch_of(0), "labels": torch.full((3, 9), -100)}
    with pytest.raises(ValueError, match="no sample carries a label"):
        fisher_information(llama, [unlabelled], NAMES["tiny_llama"])


def test_fisher_where_a_model_flattens_batch_and_time(batch_of):
    config = OPTConfig(
        vocab_size=300, hidden_size=16, ffn_dim=24, num_hidden_layers=1, num_attention_heads=2, dropout=0.0,
        max_position_embeddings=64, word_embed_proj_dim=16, init_std=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model, batch = OPTForCausalLM(config).eval(), batch_of(0)
    names = ["model.decoder.layers.0.fc1", "model.decoder.layers.0.self_attn.q_proj"]
    fisher = fisher_information(model, [batch], names)
    expected = loop_fisher(model, batch, {name: model.get_parameter(f"{name}.weight") for name in names})
    for name in names:
        torch.testing.assert_close(fisher[name], expected[name], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("measure", [fisher_information, fisher_row_sums])
def test_processes_that_share_the_batches_have_the_whole(measure, tiny_llama, batch_of):
    """Sums and numbers of tokens are added before they are divided, so unequal parts weigh as they should."""
    model, names, batch = tiny_llama(), NAMES["tiny_llama"], batch_of(0)
    rows = [{key: value[row : row + 1] for key, value in batch.items()} for row in range(3)]
    given = []
    measure(model, rows[1:], names, lambda value: given.append(value.clone()) or value)
    others = iter(given)
    shared = measure(model, rows[:1], names, lambda value: value + next(others))
    for name, value in measure(model, rows, names).items():
        torch.testing.assert_close(shared[name], value, rtol=1e-5, atol=1e-9)


class Toy(nn.Module):
    """Two linear layers; what lies between works in place, or changes the input of the first one afterwards."""

    def __init__(self, between, bias, spoil=False):
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.first = nn.Embedding(20, 8), nn.Linear(8, 16, bias=bias)
        self.between, self.last, self.spoil = between, nn.Linear(16, 20), spoil

    def forward(self, input_ids, **_):
        x = self.embed(input_ids) * 1.0
        hidden = self.first(x)
        if self.spoil:
            x.mul_(0)
        return self.last(self.between(hidden))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("between", [nn.ReLU, nn.LeakyReLU, nn.Hardtanh])
def test_an_activation_in_place_changes_nothing(between, bias, frozen):
    """The recorded output had become the activation: the information was 61 % off."""
    draw = torch.Generator().manual_seed(0)
    ids, labels = (torch.randint(0, 20, (3, 6), generator=draw) for _ in range(2))
    found = []
    for inplace in (False, True):
        model = Toy(between(inplace=inplace), bias)
        model.requires_grad_(not frozen)
        batch = {"input_ids": ids, "labels": labels}
        found.append((fisher_information(model, [batch], ["first"]), fisher_row_sums(model, [batch], ["first"])))
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(plain["first"], other["first"], rtol=0, atol=0)
    assert found[0][0]["first"].any()


def test_an_input_that_is_changed_in_place_is_refused():
    model = Toy(nn.ReLU(), bias=True, spoil=True).requires_grad_(requires_grad=False)
    batch = {"input_ids": torch.ones(1, 4, dtype=torch.long), "labels": torch.ones(1, 4, dtype=torch.long)}
    with pytest.raises(ValueError, match="'first': its input is changed in place afterwards"):
        fisher_information(model, [batch], ["first"])
