"""FILA: closed forms, invariances and the model's function."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from myosotis.unlearning.language import apply_fila, fila_factors, fisher_row_sums
from myosotis.unlearning.language.adapters.fila import subtract_initial


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


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
@pytest.mark.parametrize("alpha", [2, 4, 32])
def test_fila_leaves_the_function_as_it_was(make, alpha, batch_of, fila_model):
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


def test_fila_in_bfloat16_makes_up_for_rounding(fila_model, tiny_llama):
    original, peft_model, _ = fila_model(tiny_llama, dtype=torch.bfloat16)
    name = "model.layers.0.self_attn.q_proj"
    inner = peft_model.get_submodule(f"base_model.model.{name}")
    whole = inner.get_base_layer().weight.float() + inner.get_delta_weight("default").float()
    assert inner.lora_A["default"].weight.dtype == torch.bfloat16
    before = original.get_submodule(name).weight.float()
    assert (whole - before).norm() / before.norm() < 2e-3


def test_a_resumed_base_is_the_residual_to_the_bit(fila_model, targets, tiny_gpt2):
    _, peft_model, initial = fila_model(tiny_gpt2)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=targets["tiny_gpt2"], fan_in_fan_out=True)
    fresh = get_peft_model(tiny_gpt2(), config)
    subtract_initial(fresh, initial)
    other = dict(fresh.named_parameters())
    assert all(torch.equal(p, other[name]) for name, p in peft_model.named_parameters())


def test_row_sums_serve_fila_too(batch_of, fila_model, tiny_llama):
    original, peft_model, _ = fila_model(tiny_llama, fisher=fisher_row_sums)
    ids = batch_of(2)["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(
            peft_model(input_ids=ids).logits, original(input_ids=ids).logits, atol=1e-4, rtol=1e-4
        )


def test_a_tied_head_is_refused(tiny_llama):
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["lm_head"]))
    fisher = {"lm_head": torch.ones(300, 32)}
    with pytest.raises(ValueError, match="tied to the embeddings"):
        apply_fila(peft_model, fisher, None)


def test_a_trained_adapter_is_refused(tiny_llama):
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    fisher = {f"model.layers.{layer}.self_attn.q_proj": torch.ones(32, 32) for layer in range(2)}
    with pytest.raises(ValueError, match="already trained"):
        apply_fila(peft_model, fisher, None)


def test_a_missing_module_is_refused_before_anything_changes(tiny_llama):
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    before = {name: p.clone() for name, p in peft_model.named_parameters()}
    with pytest.raises(ValueError, match="is missing"):
        apply_fila(peft_model, {"model.layers.0.self_attn.q_proj": torch.ones(32, 32)}, None)
    assert all(torch.equal(p, before[name]) for name, p in peft_model.named_parameters())
