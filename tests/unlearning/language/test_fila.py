"""Fisher information, FILA and the exports: closed forms and the model's function."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, OPTConfig, OPTForCausalLM

from conftest import tiny_gpt2, tiny_llama
from myosotis.unlearning.language import (
    apply_fila,
    fila_factors,
    fisher_information,
    fisher_row_sums,
    save_delta_adapter,
    save_merged,
)
from myosotis.unlearning.language.adapters.fila import subtract_initial


def batch_of(seed, rows=3, length=9, vocab=300):
    stream = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocab, (rows, length), generator=stream)
    labels = ids.clone()
    labels[:, :3] = -100
    labels[0, 6:] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


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
    tiny_llama: ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"],
    tiny_gpt2: ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_proj"],
}


@pytest.mark.parametrize("make", NAMES)
def test_fisher_is_the_loop_over_samples_and_touches_nothing(make):
    model, names, batch = make(), NAMES[make], batch_of(0)
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


@pytest.mark.parametrize("make", NAMES)
def test_row_sums_by_the_gram_identity(make):
    model, names, batch = make(), NAMES[make], batch_of(1)
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


def test_fisher_refuses_what_is_not_linear(llama):
    with pytest.raises(ValueError, match="there is no such module"):
        fisher_information(llama, [batch_of(0)], ["model.layers.9"])
    unlabelled = {**batch_of(0), "labels": torch.full((3, 9), -100)}
    with pytest.raises(ValueError, match="no sample carries a label"):
        fisher_information(llama, [unlabelled], NAMES[tiny_llama])


def test_fila_closed_form():
    weight = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    forget = torch.tensor([[0.5, 0.5], [50.0, 50.0]], dtype=torch.float64)
    for epsilon, tolerance in (("official", 2e-6), ("relative", 1e-9)):
        factors = fila_factors(weight, forget, torch.ones_like(weight), 1, 2.0, epsilon)
        expected = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        torch.testing.assert_close(2 * factors.b @ factors.a, expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(factors.residual, weight - expected, atol=tolerance, rtol=0)
        uniform = fila_factors(weight, torch.ones_like(weight), torch.ones_like(weight), 1, 2.0, epsilon)
        expected = torch.tensor([[3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
        torch.testing.assert_close(2 * uniform.b @ uniform.a, expected, atol=3e-5, rtol=0)


def random_problem(seed=0, out=6, inputs=4):
    stream = torch.Generator().manual_seed(seed)

    def draw():
        return torch.rand(out, inputs, generator=stream, dtype=torch.float64)

    return torch.randn(out, inputs, generator=stream, dtype=torch.float64), draw(), draw() + 0.1


def test_fila_is_the_optimum_of_the_weighted_problem():
    weight, forget, retain = random_problem()
    d = (forget / (retain + 0.01 * retain.mean())).sum(1).sqrt()
    factors = fila_factors(weight, forget, retain, 2, 0.5)

    def weighted_error(low_rank):
        return (d[:, None] * (weight - low_rank)).square().sum()

    tail = torch.linalg.svdvals(d[:, None] * weight)[2:].square().sum()
    torch.testing.assert_close(weighted_error(0.5 * factors.b @ factors.a), tail)
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    assert tail < weighted_error(U[:, :2] * S[:2] @ Vh[:2])
    torch.testing.assert_close(
        factors.a @ factors.a.T, torch.diag(torch.linalg.svdvals(d[:, None] * weight)[:2] / 0.5), atol=1e-9, rtol=1e-9
    )


def test_fila_invariances():
    weight, forget, retain = random_problem()
    low_rank = (lambda f: f.b @ f.a)(fila_factors(weight, forget, retain, 2, 1.0))
    for factor in (100, 1e-8):
        scaled = fila_factors(weight, factor * forget, factor * retain, 2, 1.0)
        torch.testing.assert_close(scaled.b @ scaled.a, low_rank)
    only_forget = fila_factors(weight, 100 * forget, retain, 2, 1.0)
    torch.testing.assert_close(only_forget.b @ only_forget.a, low_rank)
    official = fila_factors(weight, forget, retain, 2, 1.0, "official")
    tiny = fila_factors(weight, 1e-8 * forget, 1e-8 * retain, 2, 1.0, "official")
    assert (tiny.b @ tiny.a - official.b @ official.a).norm() > 0.01 * low_rank.norm()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    permuted = fila_factors(weight[order], forget[order], retain[order], 2, 1.0)
    torch.testing.assert_close(permuted.b @ permuted.a, low_rank[order])


def test_fila_of_full_rank_leaves_no_residual_and_dead_rows_do_no_harm():
    weight, forget, retain = random_problem()
    forget[2] = 0
    factors = fila_factors(weight, forget, retain, 4, 2.0)
    assert factors.residual.abs().max() < 1e-9
    assert fila_factors(weight, forget, None, 1, 2.0).b.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 5}, "rank must be between 1 and 4"),
        ({"scale": 0.0}, "scale must be > 0"),
        ({"epsilon": "other"}, "epsilon"),
        ({"forget_fisher": torch.zeros(6, 4).double()}, "does not reach this module"),
        ({"retain_fisher": torch.zeros(6).double()}, "both be full or both be row sums"),
    ],
)
def test_fila_refuses_bad_input(change, message):
    weight, forget, retain = random_problem()
    arguments = {"weight": weight, "forget_fisher": forget, "retain_fisher": retain, "rank": 2, "scale": 1.0}
    with pytest.raises((ValueError, TypeError), match=message if "other" not in change.values() else None):
        fila_factors(**{**arguments, **change})


TARGETS = {tiny_llama: "all-linear", tiny_gpt2: ["c_attn", "c_proj", "c_fc"]}


def fila_model(make, alpha=16, rank=4, dtype=torch.float32, fisher=fisher_information):
    model = make().to(dtype)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=TARGETS[make], lora_dropout=0.0, fan_in_fan_out=make is tiny_gpt2
    )
    original = make().to(dtype)
    names = [
        name
        for name, module in model.named_modules()
        if name != "lm_head"
        and hasattr(module, "weight")
        and module.weight.ndim == 2
        and "wte" not in name
        and "wpe" not in name
        and "embed" not in name
    ]
    forget, retain = fisher(model, [batch_of(0)], names), fisher(model, [batch_of(1)], names)
    peft_model = get_peft_model(model, config, autocast_adapter_dtype=False)
    initial = apply_fila(peft_model, forget, retain)
    return original, peft_model, initial


@pytest.mark.parametrize("make", NAMES)
@pytest.mark.parametrize("alpha", [2, 4, 32])
def test_fila_leaves_the_function_as_it_was(make, alpha):
    original, peft_model, _ = fila_model(make, alpha)
    batch = batch_of(2)
    with torch.no_grad():
        before = original(input_ids=batch["input_ids"]).logits
        after = peft_model(input_ids=batch["input_ids"]).logits
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
        with peft_model.disable_adapter():
            off = peft_model(input_ids=batch["input_ids"]).logits
    # Switching the adapter off is not the old model: a reference must never be made that way.
    assert (off - before).abs().max() > 1e-2


def test_fila_in_bfloat16_makes_up_for_rounding():
    original, peft_model, _ = fila_model(tiny_llama, dtype=torch.bfloat16)
    name = "model.layers.0.self_attn.q_proj"
    inner = peft_model.get_submodule(f"base_model.model.{name}")
    whole = inner.get_base_layer().weight.float() + inner.get_delta_weight("default").float()
    assert inner.lora_A["default"].weight.dtype == torch.bfloat16
    before = original.get_submodule(name).weight.float()
    assert (whole - before).norm() / before.norm() < 2e-3


def trained(peft_model):
    """A few steps, so that the adapter differs from its start."""
    batch = batch_of(3)
    optimizer = torch.optim.SGD([p for p in peft_model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        loss = peft_model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return peft_model(input_ids=batch["input_ids"]).logits, batch["input_ids"]


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("make", NAMES)
def test_both_exports_give_the_trained_logits(make, rslora, tmp_path):
    if rslora:
        base = make()
        config = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS[make], use_rslora=True)
        peft_model = get_peft_model(base, config)
        names = [n.removeprefix("base_model.model.") for n, m in peft_model.named_modules() if hasattr(m, "lora_A")]
        plain = make()
        initial = apply_fila(
            peft_model, fisher_information(plain, [batch_of(0)], names), fisher_information(plain, [batch_of(1)], names)
        )
    else:
        _, peft_model, initial = fila_model(make)
    logits, ids = trained(peft_model)
    before = {name: p.clone() for name, p in peft_model.named_parameters()}
    save_merged(peft_model, None, tmp_path / "merged")
    assert all(torch.equal(p, before[name]) for name, p in peft_model.named_parameters())
    save_delta_adapter(peft_model, tmp_path / "delta", initial)
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(merged(input_ids=ids).logits, logits, atol=1e-4, rtol=1e-4)
        on_stock_base = PeftModel.from_pretrained(make(), tmp_path / "delta").eval()
        torch.testing.assert_close(on_stock_base(input_ids=ids).logits, logits, atol=1e-4, rtol=1e-4)
        assert (make()(input_ids=ids).logits - logits).abs().max() > 1e-2


def test_plain_lora_exports_its_adapter(tmp_path):
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
    logits, ids = trained(peft_model)
    save_delta_adapter(peft_model, tmp_path / "delta")
    with torch.no_grad():
        loaded = PeftModel.from_pretrained(tiny_llama(), tmp_path / "delta").eval()
        torch.testing.assert_close(loaded(input_ids=ids).logits, logits, atol=1e-5, rtol=1e-5)


def test_a_resumed_base_is_the_residual_to_the_bit():
    _, peft_model, initial = fila_model(tiny_gpt2)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=TARGETS[tiny_gpt2], fan_in_fan_out=True)
    fresh = get_peft_model(tiny_gpt2(), config)
    subtract_initial(fresh, initial)
    other = dict(fresh.named_parameters())
    assert all(torch.equal(p, other[name]) for name, p in peft_model.named_parameters())


def test_row_sums_serve_fila_too():
    original, peft_model, _ = fila_model(tiny_llama, fisher=fisher_row_sums)
    ids = batch_of(2)["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(
            peft_model(input_ids=ids).logits, original(input_ids=ids).logits, atol=1e-4, rtol=1e-4
        )


def test_a_tied_head_is_refused():
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["lm_head"]))
    fisher = {"lm_head": torch.ones(300, 32)}
    with pytest.raises(ValueError, match="tied to the embeddings"):
        apply_fila(peft_model, fisher, None)


def test_a_trained_adapter_is_refused():
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    fisher = {f"model.layers.{layer}.self_attn.q_proj": torch.ones(32, 32) for layer in range(2)}
    with pytest.raises(ValueError, match="trained already"):
        apply_fila(peft_model, fisher, None)


def test_fisher_where_a_model_flattens_batch_and_time():
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


@pytest.mark.parametrize("options", [{"lora_bias": True}, {"init_lora_weights": "pissa"}, {"bias": "all"}])
def test_exports_refuse_what_they_would_lose(options, tmp_path):
    peft_model = get_peft_model(tiny_gpt2(), LoraConfig(r=2, target_modules=["c_attn"], **options))
    with pytest.raises(ValueError, match=r"only low-rank factors|has changed its base|not covered"):
        save_delta_adapter(peft_model, tmp_path / "delta")
    assert not (tmp_path / "delta").exists()


def test_a_missing_module_is_refused_before_anything_changes():
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    before = {name: p.clone() for name, p in peft_model.named_parameters()}
    with pytest.raises(ValueError, match="is missing"):
        apply_fila(peft_model, {"model.layers.0.self_attn.q_proj": torch.ones(32, 32)}, None)
    assert all(torch.equal(p, before[name]) for name, p in peft_model.named_parameters())
