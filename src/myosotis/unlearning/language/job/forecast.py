"""How long a job of ``unlearn-language`` would take."""

from collections.abc import Sequence
from typing import Any

import torch

from myosotis.data.encoding import Example, pad_examples, pad_token_id
from myosotis.engine.forecast import Phase, steps_of
from myosotis.engine.processes import device
from myosotis.unlearning.language.audit.sets import GENERATED, AuditSets, sample_length, sampled_records
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig, TeacherConfig
from myosotis.unlearning.language.job.inputs import JobInputs
from myosotis.unlearning.language.methods import build_method


def language_phases(config: LanguageUnlearningConfig, inputs: JobInputs, model: Any) -> list[Phase]:
    """Return the parts of a job: forward and backward passes over typical records, and generated answers.

    Args:
        config: Job.
        inputs: Records, encoded.
        model: Model before the job; its weights do not change.
    """
    sets = inputs.sets
    phases = []
    if config.fine_tune is not None:
        known = [len(sets.forget) + len(inputs.all_retained)]
        known += [len(inputs.all_retained)] if config.reference == "retrain" else []
        steps = steps_of(known, config.fine_tune.batch_size, config.fine_tune.epochs)
        phases.append(Phase("teaching", steps, _step(model, inputs, sets.forget, config.fine_tune.batch_size)))
    if build_method(config.method.name, config.method.settings).teacher_model == "proxy":
        teacher = config.teacher or TeacherConfig()
        steps = steps_of([min(len(sets.retain), teacher.records)], teacher.batch_size, teacher.epochs)
        phases.append(Phase("teaching the proxy", steps, _step(model, inputs, sets.retain, teacher.batch_size)))
    training = config.training
    batches = steps_of([len(sets.forget)], training.batch_size, training.epochs)
    batches *= 1 + (training.retain_per_forget if sets.retain else 0) + (training.replay_prompts > 0)
    epochs = "" if config.stop is None else ", if it does not stop earlier"
    step = _step(model, inputs, sets.forget, training.batch_size)
    phases.append(Phase(f"unlearning{epochs}", batches, step, may_stop=config.stop is not None))
    audited = inputs.audited
    size = config.audit.batch_size
    rows = sum(len(each) for each in (audited.forget, audited.retain, audited.held_retain, audited.unseen))
    rows += sum(len(others) for rewordings in audited.rewordings.values() for others in rewordings)
    audits = 2 + (config.reference is not None)
    tokens = -(-rows // size) * config.audit.max_new_tokens + _sampled_tokens(audited, config.audit.samples) // size
    tokens *= audits
    step = _token(model, inputs, sets.forget, config)
    phases.append(Phase("answers of the audits", tokens, step, "tokens a batch", may_stop=True))
    return phases


def _sampled_tokens(audited: AuditSets, samples: int) -> int:
    """Tokens of the sampled answers of one audit."""
    sets = [getattr(audited, name) for name in GENERATED] if samples else []
    chosen = [examples[index] for examples in sets for index in sampled_records(examples, samples)]
    return samples * sum(map(sample_length, chosen))


def _batch(inputs: JobInputs, examples: Sequence[Example], size: int) -> dict[str, Any]:
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    middle = max(0, len(by_length) // 2 - size // 2)
    typical = by_length[middle : middle + size]
    batch = pad_examples(typical, pad_token_id(inputs.tokenizer))
    return {name: value.to(device()) for name, value in batch.items()}


def _step(model: Any, inputs: JobInputs, examples: Sequence[Example], size: int) -> Any:
    batch = _batch(inputs, examples, size)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(**batch).loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def _token(model: Any, inputs: JobInputs, examples: Sequence[Example], config: LanguageUnlearningConfig) -> Any:
    """One token of a batch of answers, with the keys and values of the tokens before it."""
    batch = _batch(inputs, examples, config.audit.batch_size)
    with torch.no_grad():
        past = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=True)
    last = batch["input_ids"][:, -1:]

    def step() -> None:
        with torch.no_grad():
            model(input_ids=last, past_key_values=past.past_key_values, use_cache=True)

    return step
