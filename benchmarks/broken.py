"""Models that were broken on purpose: do their own answers show it?

Of a run of the demo that kept its taught model: the model before and after, refusals in its place, other labels, noise
on the weights, and the base model. Mean repetition, missing ends and surprise of the answers to forget, and of 60 that
were held out; how much each may grow is ``WORKING`` of ``myosotis.unlearning.language.audit.works``.

    myosotis run examples/erase-people.yaml --set keep_fine_tuned=true --out runs/broken
    python benchmarks/broken.py runs/broken
"""

import argparse
from pathlib import Path

import torch

from myosotis.data.encoding import IGNORED, pad_examples
from myosotis.engine.run import Run
from myosotis.engine.seeding import generator
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.audit.answers import end_tokens
from myosotis.unlearning.language.audit.audit import audit_model, judged_by
from myosotis.unlearning.language.audit.own_answers import expected_by
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import encode_inputs, read_records
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.refusals import REFUSALS

HELD = 60
FIGURES = ("answer_repetition", "answer_runs_on", "answer_surprise", "answer_length")


def with_noise(model, deviations):
    """Add normal noise to every matrix, in standard deviations of its weights."""
    stream = generator(0, "noise")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.add_(torch.randn(weight.shape, generator=stream) * deviations * weight.std())
    return model


def with_other_labels(model, examples, steps, rate):
    """Teach random tokens in place of the answers."""
    batch = pad_examples(examples, 0)
    labels = batch["labels"][:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for step in range(steps):
        drawn = torch.randint(0, model.config.vocab_size, labels.shape, generator=generator(step, "labels"))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        wrong = torch.where(labels == IGNORED, labels, drawn)
        (-token_log_probs(logits, wrong).sum() / (labels != IGNORED).sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    run = Run.read(parser.parse_args().run)
    config = LanguageUnlearningConfig.model_validate(run.settings())
    target = str(run.path / "checkpoints" / "target")
    original, tokenizer = load_causal_lm(target)
    audited = encode_inputs(config, *read_records(config), tokenizer).audited
    sets = AuditSets(forget=audited.forget, held_retain=audited.held_retain[:HELD])

    def show(name, model):
        with torch.autocast("cpu", torch.bfloat16):
            found = judged_by(original, audit_model(model, tokenizer, sets, n=3, samples=0), sets).values
        cells = [" / ".join(f"{rows[figure].nanmean():.2f}" for figure in FIGURES) for rows in found.values()]
        print("|", " | ".join([name, *cells]), "|", flush=True)

    print("| model | to forget | held out |\n| --- | --- | --- |")
    show("before", original)
    show("after", load_causal_lm(str(run.path / "model"))[0])
    show("other labels", with_other_labels(load_causal_lm(target)[0], list(sets.forget), steps=12, rate=3e-5))
    for deviations in (0.1, 0.25, 0.5):
        show(f"noise of {deviations}", with_noise(load_causal_lm(target)[0], deviations))
    show("base", load_causal_lm(config.model.name)[0])
    end = min(end_tokens(tokenizer))
    refusals = [[*tokenizer(f" {REFUSALS[row % len(REFUSALS)]}")["input_ids"], end] for row in range(len(sets.forget))]
    with torch.autocast("cpu", torch.bfloat16):
        surprise = expected_by(original, sets.forget, refusals)["answer_surprise"].nanmean()
    print(f"| refusals | {surprise:.2f} | - |")


if __name__ == "__main__":
    main()
