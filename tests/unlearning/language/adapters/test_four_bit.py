"""Adapters on a 4-bit base: what FILA starts from, what is exported, and what is merged."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from myosotis.engine.fingerprint import weights_hash
from myosotis.models.four_bit import is_four_bit, keep_differentiable, linear_shape, whole_weight
from myosotis.unlearning.language import apply_fila, fila_factors, fisher_information, save_delta_adapter, save_merged
from myosotis.unlearning.language.adapters.export import save_packed
from myosotis.unlearning.language.adapters.fila import lora_layers, subtract_initial
from myosotis.unlearning.language.adapters.residual import restore_weight, subtract_product, subtracted_product

# The quantiles of NF4 (Dettmers et al., QLoRA, 2023, appendix E).
NF4 = (
    "-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334 "
    "-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224 "
    "0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"
)
X = torch.randint(300, (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def stock(request, tmp_path_factory):
    """The directory of a small model."""
    torch.manual_seed(0)
    if request.param == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=300,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                initializer_range=0.2,
                tie_word_embeddings=True,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=300,
                n_positions=64,
                n_embd=64,
                n_layer=2,
                n_head=4,
                initializer_range=0.2,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    directory = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(directory)
    return directory


def packed_model(directory):
    """As plain transformers loads it, but for the format that cannot be differentiated."""
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, quantization_config=settings)
    keep_differentiable(model)
    return model


def with_adapter(model):
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    torch.manual_seed(1)
    return get_peft_model(model, config)


def logits(model):
    with torch.no_grad():
        return model(input_ids=X).logits


def fila_start(model, batch_of):
    adapted = with_adapter(model)
    names = [f"base_model.model.{name}.base_layer" for name, _ in lora_layers(adapted)]
    with adapted.disable_adapter():
        fishers = [fisher_information(adapted, [batch_of(seed)], names) for seed in (0, 1)]
    return adapted, apply_fila(adapted, *fishers), fishers


def train(model):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):
        model(input_ids=X, labels=X).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return logits(model)


def test_a_packed_layer_acts_with_the_nearest_quantile_of_each_block(stock):
    whole, packed = AutoModelForCausalLM.from_pretrained(stock), packed_model(stock)
    layers = {name: layer for name, layer in packed.named_modules() if is_four_bit(layer)}
    assert len(layers) == {"llama": 14, "gpt2": 8}[whole.config.model_type]
    quantiles = torch.tensor([float(value) for value in NF4.split()])
    for name, layer in layers.items():
        weight = whole.get_submodule(name).weight.detach()
        weight = (weight.T if whole.config.model_type == "gpt2" else weight).contiguous()
        blocks = weight.view(-1, 64)
        scales = blocks.abs().amax(dim=1, keepdim=True)
        nearest = quantiles[(blocks.unsqueeze(-1) / scales.unsqueeze(-1) - quantiles).abs().argmin(dim=-1)] * scales
        expected = nearest.view_as(weight)
        assert linear_shape(layer) == weight.shape
        torch.testing.assert_close(whole_weight(layer), expected, rtol=1e-5, atol=1e-6)
        # About 9 % of a normal weight.
        assert 0.07 < (whole_weight(layer) - weight).norm() / weight.norm() < 0.11
        x = torch.randn(3, weight.shape[1])
        bias = 0 if layer.bias is None else layer.bias
        torch.testing.assert_close(layer(x), x @ expected.T + bias, rtol=1e-4, atol=1e-4)


def test_a_product_is_subtracted_and_restored(stock):
    layer = next(layer for layer in packed_model(stock).modules() if is_four_bit(layer))
    out, width = linear_shape(layer)
    a, b, x = torch.randn(3, width), torch.randn(out, 3), torch.randn(5, width)
    before, state = layer(x), set(layer.state_dict())
    subtract_product(layer, a, b, 0.5)
    subtract_product(layer, a, b, 2.0)  # replaces the first
    torch.testing.assert_close(layer(x), before - 2.0 * x @ (b @ a).T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(subtracted_product(layer), 2.0 * b @ a)
    assert set(layer.state_dict()) == state
    restore_weight(layer)
    assert subtracted_product(layer) is None
    assert torch.equal(layer(x), before)


def test_fila_starts_at_the_function_of_the_base(stock, batch_of):
    expected = logits(packed_model(stock))
    base = packed_model(stock)
    stored = weights_hash(base)
    adapted, initial, (forget, retain) = fila_start(base, batch_of)
    torch.testing.assert_close(logits(adapted), expected, rtol=1e-5, atol=2e-5)
    for name, layer in lora_layers(adapted):
        key = f"base_model.model.{name}.base_layer"
        factors = fila_factors(whole_weight(layer.get_base_layer()), forget[key], retain[key], 4, 2.0)
        torch.testing.assert_close(initial[f"{name}.b"] @ initial[f"{name}.a"], factors.b @ factors.a)
    # The packed weights are what they were.
    assert weights_hash(adapted.unload()) == stored


def test_training_from_saved_factors_goes_on_alike(stock, batch_of):
    first, initial, _ = fila_start(packed_model(stock), batch_of)
    second = with_adapter(packed_model(stock))
    subtract_initial(second, initial)
    assert torch.equal(train(first), train(second))


@pytest.mark.parametrize("init", ["default", "fila"])
def test_exports_compute_what_was_trained(stock, batch_of, tmp_path, init):
    if init == "fila":
        adapted, initial, _ = fila_start(packed_model(stock), batch_of)
    else:
        adapted, initial = with_adapter(packed_model(stock)), None
    before = logits(adapted)
    trained = train(adapted)
    assert (trained - before).abs().max() > 1e-2
    save_delta_adapter(adapted, tmp_path / "delta", initial)
    save_merged(adapted, None, tmp_path / "merged")
    torch.testing.assert_close(logits(adapted), trained)
    base = save_packed(adapted, None, tmp_path / "packed", initial)
    # On the stock base, packed the same way, in plain PEFT.
    delta = PeftModel.from_pretrained(packed_model(stock), tmp_path / "delta")
    torch.testing.assert_close(logits(delta), trained, rtol=1e-4, atol=1e-4)
    # Whole weights in plain transformers.
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not any(is_four_bit(layer) for layer in merged.modules())
    assert {value.dtype for value in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.float32}
    torch.testing.assert_close(logits(merged), trained, rtol=1e-4, atol=1e-4)
    # Packed weights and adapter in plain transformers, with a hash that does not depend on how it was made.
    packed = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    keep_differentiable(packed)
    torch.testing.assert_close(logits(packed), trained, rtol=1e-4, atol=1e-4)
    base.load_adapter(str(tmp_path / "packed"))
    assert weights_hash(base) == weights_hash(packed)
