"""Batches, and tiny models with an adapter that starts by FILA."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from myosotis.unlearning.language import apply_fila, fisher_information


@pytest.fixture(scope="session")
def batch_of():
    def batch_of(seed, rows=3, length=9, vocab=300):
        stream = torch.Generator().manual_seed(seed)
        ids = torch.randint(vocab, (rows, length), generator=stream)
        labels = ids.clone()
        labels[:, :3] = -100
        labels[0, 6:] = -100
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    return batch_of


@pytest.fixture(scope="session")
def targets():
    return {"tiny_llama": "all-linear", "tiny_gpt2": ["c_attn", "c_proj", "c_fc"]}


@pytest.fixture(scope="session")
def fila_model(batch_of, targets, tiny_gpt2):
    def fila_model(make, alpha=16, rank=4, dtype=torch.float32, fisher=fisher_information):
        model = make().to(dtype)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=targets[make.__name__],
            lora_dropout=0.0,
            fan_in_fan_out=make is tiny_gpt2,
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

    return fila_model


@pytest.fixture(scope="session")
def trained(batch_of):
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

    return trained
