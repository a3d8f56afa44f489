"""The memory of a pass from shapes alone, against formulas by hand and against real passes."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, LlamaForCausalLM, MixtralConfig

from myosotis.engine import InputError
from myosotis.unlearning.language import METHODS, build_method
from myosotis.unlearning.language.job.memory_trace import MemoryTracer, PassShape, Trace

ROWS, LENGTH, LABELLED, VOCAB, WIDTH, INNER, HEADS = 4, 10, 3, 300, 64, 96, 4
SHAPE = PassShape({"forget": ROWS}, LENGTH, LABELLED)
FLOAT = 4


def shapes(kind=LlamaConfig, dtype=torch.float32, **changes):
    sizes = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    with torch.device("meta"):
        config = kind(**{"vocab_size": VOCAB, "num_key_value_heads": 2, **sizes, **changes})
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def ascent(**changes):
    return MemoryTracer(shapes(**changes)).step(SHAPE, build_method("ga").terms())


def test_what_a_block_keeps_for_the_backward_pass():
    two, three = ascent(), ascent(num_hidden_layers=3)
    # Of each norm its input, what it normalised, its result and the root; queries, and keys and values repeated for
    # every head; the result of attention, its normaliser by head, and the mask; four values in the gated layer.
    by_token = 2 * (3 * WIDTH + 1) + 3 * WIDTH + WIDTH + HEADS + LENGTH + 4 * INNER
    assert three.after_forward - two.after_forward == FLOAT * ROWS * LENGTH * by_token


def test_what_a_token_of_the_vocabulary_costs():
    more, less = ascent(vocab_size=VOCAB + 1), ascent()
    assert more.after_forward - less.after_forward == FLOAT * ROWS * LABELLED


def test_gradients_are_those_of_all_weights_and_nothing_stays():
    trace, model = ascent(), shapes()
    assert max(gradients for _, gradients in trace.moments) == FLOAT * sum(p.numel() for p in model.parameters())
    assert trace.moments[-1] == (0, 0)


def test_a_frozen_weight_has_no_gradient_and_saves_no_input():
    model = shapes()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.1.mlp.down_proj" in name)
    trace = MemoryTracer(model).step(SHAPE, build_method("ga").terms())
    assert max(gradients for _, gradients in trace.moments) == FLOAT * WIDTH * INNER
    assert trace.after_forward < ascent().after_forward / 2


def test_the_forward_pass_keeps_what_a_real_one_saves():
    torch.manual_seed(0)
    config = shapes().config
    model = LlamaForCausalLM(config).train()
    known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage
        return tensor

    ids = torch.randint(VOCAB, (ROWS, LENGTH))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(
            input_ids=ids,
            attention_mask=torch.tensor([[1] * LENGTH] * (ROWS - 1) + [[1] * (LENGTH - 1) + [0]]),
            use_cache=False,
            logits_to_keep=torch.zeros(ROWS, LABELLED, dtype=torch.long),
        )
    saved[output.logits.untyped_storage()._cdata] = output.logits.untyped_storage()
    real = sum(storage.nbytes() for storage in saved.values())
    # Indices and the angles of positions are kept by either, of which one is counted once more or less.
    assert ascent().after_forward == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_traced(name, method_settings):
    method = build_method(name, method_settings.get(name))
    rows = {"forget": 2}
    rows |= {"alternate": 2} if method.alternates is not None else {}
    rows |= {"retain": 2} if method.reads("retain") else {}
    trace = MemoryTracer(shapes()).step(PassShape(rows, LENGTH, LABELLED), method.terms())
    assert trace.peak() > trace.after_forward > 0
    assert trace.moments[-1] == (0, 0)


def test_checkpointing_keeps_less_and_precision_counts():
    model = shapes(num_hidden_layers=3)
    model.activation_checkpointing_enable()
    checkpointed = MemoryTracer(model).step(SHAPE, build_method("ga").terms())
    plain = ascent(num_hidden_layers=3)
    assert checkpointed.after_forward < 0.4 * plain.after_forward
    half = MemoryTracer(shapes(num_hidden_layers=3, dtype=torch.bfloat16))
    assert half.step(SHAPE, build_method("ga").terms()).after_forward < 0.75 * plain.after_forward
    mixed = MemoryTracer(shapes(num_hidden_layers=3), torch.bfloat16).step(SHAPE, build_method("ga").terms())
    assert mixed.after_forward != plain.after_forward


def test_gpt2_has_passes_of_every_kind():
    tracer = MemoryTracer(shapes(GPT2Config, n_embd=WIDTH, n_layer=2, n_head=HEADS))
    assert tracer.step(SHAPE, build_method("ga").terms()).peak() > 0
    cache = 2 * 2 * ROWS * (LENGTH + 5) * WIDTH * FLOAT  # keys and values of two layers
    assert tracer.inference(SHAPE, 5).after_forward == pytest.approx(cache, rel=0.1)
    modules = [f"transformer.h.{layer}.attn.c_attn" for layer in range(2)]
    trace = tracer.fisher(SHAPE, modules)
    # Inputs and gradients of outputs of both layers at once.
    assert trace.peak() > 2 * ROWS * LENGTH * (WIDTH + 3 * WIDTH) * FLOAT


def test_the_peak_divides_gradients_alone():
    trace = Trace(10, [(10, 0), (6, 8), (2, 12)])
    assert trace.peak() == 14
    assert trace.peak(2) == 10
    assert trace.peak(4) == 10
    assert trace.peak(accumulated=True) == 22


def test_a_model_whose_code_reads_content_is_refused():
    class Reading(LlamaForCausalLM):
        def forward(self, input_ids=None, logits_to_keep=0, **options):
            if input_ids.max() > 3:
                input_ids = input_ids * 0
            return super().forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **options)

    with torch.device("meta"):
        model = Reading(shapes().config)
    with pytest.raises(InputError, match="cannot be planned from its shapes"):
        MemoryTracer(model).step(SHAPE, build_method("ga").terms())
    with pytest.raises(InputError, match="cannot be planned from its shapes"):
        MemoryTracer(shapes(MixtralConfig)).step(SHAPE, build_method("ga").terms())


def test_a_loss_at_all_positions_costs_their_logits():
    tracer = MemoryTracer(shapes())
    few = tracer.step(SHAPE, build_method("ga").terms())
    whole = tracer.step(SHAPE, build_method("ga").terms(), whole=True)
    assert whole.after_forward - few.after_forward >= FLOAT * ROWS * (LENGTH - LABELLED) * VOCAB
