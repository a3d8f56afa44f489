"""Trains tiny models in the ways that sharding could change; alone, or launched on two processes that shard.

Launched on two processes as ``sharded_trajectories.py DIRECTORY CASE ...``: the directory holds ``model``, with a
tokenizer, and receives the weights of each process as ``CASE-RANK.safetensors``, its losses as ``CASE-RANK.json``.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.processes import share, wait_for_everyone
from myosotis.unlearning.language import StopRule, UnlearnConfig, UnlearnTrainer
from myosotis.unlearning.language.audit.forgotten import Level
from myosotis.unlearning.language.training.checkpoints import initial_factors_of
from myosotis.unlearning.language.training.selection import Selection

PEOPLE = fictitious_people(6, seed=3)
FORGET = [record for person in PEOPLE[:2] for record in person.records()[:4]]
RETAIN = [record for person in PEOPLE[2:4] for record in person.records()[:3]]
HELD = [record for person in PEOPLE[4:] for record in person.records()[:2]]
LORA = LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules="all-linear")

CASES = {
    "ihl": {"method": "ihl"},
    "npo": {"method": "npo"},
    "gd": {"method": "gd", "max_grad_norm": 1.0},
    "fila": {"method": "ihl", "lora_init": "fila"},
    "strangers": {"method": "counterfactual", "replay_prompts": 6},
    "guard": {"method": "ga", "learning_rate": 1.0, "weight_decay": 0.5, "num_train_epochs": 4},
    # Seen only when the epoch's weights are measured, which leaves modules of a shard whole.
    "guard-after-epoch": {
        "method": "ga",
        "learning_rate": 1.0,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
    },
    "task-vector": {"method": "task-vector"},
    "selection": {"method": "gd", "learning_rate": 3e-2, "num_train_epochs": 3},
    "resumed": {"method": "gd", "learning_rate": 1e-2, "num_train_epochs": 3, "save_strategy": "epoch"},
    "resumed-fila": {"method": "gd", "lora_init": "fila", "num_train_epochs": 3, "save_strategy": "epoch"},
    "stopped": {"method": "gd", "num_train_epochs": 4, "save_strategy": "epoch"},
}


def trainer_of(directory, case, factors=None):
    """A trainer whose step has eight forget records, in one process or over two."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    changes = CASES[case]
    tokenizer = AutoTokenizer.from_pretrained(directory / "model")
    settings = {
        "output_dir": str(directory / f"{case}{'-alone' if alone else ''}"),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2 if alone else 1,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        **changes,
    }
    selection = rule = None
    encoder = Encoder(tokenizer, "{prompt} {response}", 512, True)
    if case in ("selection", "resumed"):
        selection = Selection([encoder(record) for record in FORGET], [encoder(record) for record in HELD], 0.2)
    if case == "stopped":
        examples = [encoder(record) for record in FORGET]
        known, unseen = (
            {"token_probability": torch.full((count,), level)} for count, level in ((len(examples), 1.0), (3, 0.9))
        )
        level = Level("unseen records, before", unseen, [0, 1, 2], paired=False)
        rule = StopRule(examples, known, level, figures=("probability",), n=2, min_epochs=2)
    return UnlearnTrainer(
        AutoModelForCausalLM.from_pretrained(directory / "model"),
        UnlearnConfig(**settings),
        FORGET,
        RETAIN,
        tokenizer,
        LORA if "lora_init" in changes else None,
        stop_rule=rule,
        selection=selection,
        initial_factors=factors,
    )


def trained(directory, case):
    """The trained model, the losses and the end of a case."""
    trainer = trainer_of(directory, case)
    model = trainer.model
    trainer.train()
    output = Path(trainer.args.output_dir)
    if "save_strategy" in CASES[case]:
        # As if the last epoch had been interrupted, or the process after the end of training.
        if share()[0] == 0 and case != "stopped":
            shutil.rmtree(sorted(output.glob("step-*"))[-1])
        wait_for_everyone()
        whole, last = weights_hash(trainer.model), sorted(output.glob("step-*"))[-1]
        trainer = trainer_of(directory, case, initial_factors_of(last))
        model = trainer.model
        trainer.train(resume_from_checkpoint=last)
        assert weights_hash(trainer.model) == whole, "a resumed training ends elsewhere"
    assert trainer.model is model
    assert not any(parameter.numel() == 0 for parameter in model.parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return model, {
        "losses": losses,
        "end": trainer.stop_reason,
        "epoch": trainer.selected_epoch,
        "engine": trainer.accelerator.distributed_type.value,
    }


def main(directory, cases):
    """Train every case and write what came out."""
    for case in cases:
        model, outcome = trained(directory, case)
        rank = share()[0]
        weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        save_file(weights, directory / f"{case}-{rank}.safetensors")
        (directory / f"{case}-{rank}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    torch.set_num_threads(1)
    from sharded_on_cpus import shard_on_cpus

    shard_on_cpus()
    main(Path(sys.argv[1]), sys.argv[2:])
