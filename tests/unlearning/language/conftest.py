"""Records, settings and trainers that are small enough for tests."""

import pytest
import torch
from peft import LoraConfig

from myosotis.data.people import fictitious_people
from myosotis.unlearning.language import StopRule, UnlearnConfig, UnlearnTrainer
from myosotis.unlearning.language.audit.forgotten import Level

FIGURES = (
    *(f"{tokens}_{figure}" for tokens in ("fact", "token") for figure in ("probability", "top5")),
    "extraction_strength",
    "memorization_accuracy",
    "extraction_likelihood",
)
PEOPLE = fictitious_people(4, seed=3)


@pytest.fixture(scope="session")
def forget_records():
    return [record for person in PEOPLE[:2] for record in person.records()[:4]]


@pytest.fixture(scope="session")
def retain_records():
    return [record for person in PEOPLE[2:] for record in person.records()[:3]]


@pytest.fixture
def make(request, tiny_llama, tiny_gpt2):
    """What makes a tiny model of the family that a test names."""
    return {"llama": tiny_llama, "gpt2": tiny_gpt2}[request.param]


@pytest.fixture(scope="session")
def lora(tiny_llama):
    def lora(make=tiny_llama):
        targets = "all-linear" if make is tiny_llama else ["c_attn", "c_proj", "c_fc"]
        return LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=targets)

    return lora


@pytest.fixture(scope="session")
def settings_for():
    def settings_for(path, **changes):
        options = {
            "output_dir": str(path),
            "per_device_train_batch_size": 4,
            "num_train_epochs": 2,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
        }
        return UnlearnConfig(**{**options, **changes})

    return settings_for


@pytest.fixture(scope="session")
def trainer_for(forget_records, retain_records, tiny_llama, lora, settings_for):
    def trainer_for(path, tokenizer, make=tiny_llama, peft=True, model=None, **changes):
        extra = {key: changes.pop(key) for key in ("stop_rule", "initial_factors", "teacher") if key in changes}
        retain = changes.pop("retain", retain_records)
        return UnlearnTrainer(
            model or make(),
            settings_for(path, **changes),
            forget_records,
            retain,
            tokenizer,
            lora(make) if peft else None,
            **extra,
        )

    return trainer_for


@pytest.fixture(scope="session")
def weights():
    def weights(trainer):
        return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}

    return weights


@pytest.fixture(scope="session")
def losses():
    def losses(trainer):
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    return losses


@pytest.fixture(scope="session")
def method_settings():
    """Settings of the methods that do not train tiny models, or nothing at all, by their defaults."""
    return {
        "rmu": {"block": 0},
        "composite": {
            "forget": [{"name": "ihl"}, {"name": "npo", "forget_weight": 0.5}],
            "retain_terms": {"nll": 1.0},
        },
    }


@pytest.fixture(scope="session")
def rule_at():
    """A stop rule whose unseen records have the same value for every figure, and whose forget set was wholly known."""

    def rule_at(examples, value, **options):
        known, unseen = (
            {name: torch.full((count,), level, dtype=torch.float64) for name in FIGURES}
            for count, level in ((len(examples), 1.0), (3, value))
        )
        level = Level("unseen records, before", unseen, [0, 1, 2], paired=False)
        return StopRule(examples, known, level, n=2, **options)

    return rule_at
