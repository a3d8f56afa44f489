"""Exports: the trained function, on merged weights and on the stock base."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from myosotis.unlearning.language import apply_fila, fisher_information, save_delta_adapter, save_merged


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_both_exports_give_the_trained_logits(make, rslora, tmp_path, batch_of, fila_model, targets, trained):
    if rslora:
        base = make()
        config = LoraConfig(r=4, lora_alpha=8, target_modules=targets[make.__name__], use_rslora=True)
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


def test_plain_lora_exports_its_adapter(tmp_path, tiny_llama, trained):
    peft_model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules="all-linear"))
    logits, ids = trained(peft_model)
    save_delta_adapter(peft_model, tmp_path / "delta")
    with torch.no_grad():
        loaded = PeftModel.from_pretrained(tiny_llama(), tmp_path / "delta").eval()
        torch.testing.assert_close(loaded(input_ids=ids).logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"lora_bias": True}, {"init_lora_weights": "pissa"}, {"bias": "all"}])
def test_exports_refuse_what_they_would_lose(options, tmp_path, tiny_gpt2):
    peft_model = get_peft_model(tiny_gpt2(), LoraConfig(r=2, target_modules=["c_attn"], **options))
    with pytest.raises(ValueError, match=r"only low-rank factors|changes the base weights|not covered"):
        save_delta_adapter(peft_model, tmp_path / "delta")
    assert not (tmp_path / "delta").exists()
