"""The units of work of a sweep: one masker, ratio and seed each."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import myosotis
from myosotis.engine.errors import InputError
from myosotis.engine.failures import attempt
from myosotis.engine.run import changed_inputs
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.finetuning import finetune, with_new_head
from myosotis.pretraining.image_sets import PretrainSets, pretrain_inputs, read_pretrain_sets
from myosotis.pretraining.setup import describe_pretrained, new_model, new_probes, pretrain_settings
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.training import pretrain

_MEASURES = ("linear", "knn", "finetuned")


@dataclass(frozen=True)
class SweepUnit:
    """One run.

    Attributes:
        masker: Name of the masker in the report; None for an untrained encoder.
        ratio: Share of hidden tokens; None for an untrained encoder.
        seed: Seed of the run.
        config: The job and the digests of its inputs, as JSON.
    """

    masker: str | None
    ratio: float | None
    seed: int
    config: str

    @property
    def key(self) -> str:
        """Key of the result: equal jobs on equal inputs by the same version of the package share it."""
        return hashlib.sha256(f"{myosotis.__version__} {self.config}".encode("utf-8", "surrogatepass")).hexdigest()


def run_sweep_unit(config: str, device: str = "cpu") -> dict[str, Any]:
    """Carry out one job in memory and return its figures, ready for JSON.

    A run that diverges or fails is a result too, see :func:`~myosotis.engine.failures.attempt`: its scores are 0, and
    ``failure`` says why.

    Args:
        config: ``{"job": ..., "train": ..., "inputs": ...}``: a :class:`~myosotis.pretraining.config.PretrainConfig`,
            whether it is trained at all, and the digests of what it reads.
        device: Device of the network.

    Raises:
        InputError: Something that the job reads is missing, or has changed.
        OutOfMemoryError: The job does not fit the memory; the scheduler decides what becomes of it.
    """
    content = json.loads(config)
    job = PretrainConfig.model_validate(content["job"])
    sets = job_sets(job)
    changed = changed_inputs(content["inputs"], pretrain_inputs(sets, job, ""))
    if changed:
        raise InputError(f"{', '.join(changed)} changed during the sweep")
    started = time.perf_counter()
    figures, failure = attempt(lambda: _figures(job, sets, device, train=content["train"]))
    if figures is not None:
        return figures
    zero = dict.fromkeys(_MEASURES, 0.0)
    return {**zero, "failure": failure, "masks": {}, "seconds": time.perf_counter() - started}


def _figures(job: PretrainConfig, sets: PretrainSets, device: str, *, train: bool) -> dict[str, Any]:
    spec = describe_pretrained(job, sets.train)
    model = new_model(job, spec)
    probes = new_probes(job, sets, device)
    figures: dict[str, Any] = {"failure": None, "masks": {}, "finetuned": None}
    started = time.perf_counter()
    if train:
        outcome = pretrain(
            model,
            sets.train.images,
            pretrain_settings(job),
            seed=job.seed,
            device=device,
            description="sweep",
        )
        figures["masks"] = outcome.history[-1]
    figures["seconds"] = time.perf_counter() - started
    if probes is not None:
        measured = probes.encoder(model)
        figures |= {"linear": measured.linear, "knn": measured.knn}
        if not train:
            figures["pixels"] = asdict(probes.pixels())
    if job.finetune is not None and sets.labelled is not None and sets.test is not None:
        tuning = job.finetune
        classes = len(sets.labelled.classes)
        tuned = with_new_head(model.encoder, spec.encoder, classes, drop_path=tuning.drop_path, seed=job.seed)
        figures["finetuned"] = finetune(tuned, sets.labelled, sets.test, tuning, seed=job.seed, device=device)
    return figures


def job_sets(job: PretrainConfig) -> PretrainSets:
    """Return the images of a job; those of a seed are read once in a process, where the seed draws some of them."""
    seed = 0 if job.data.limit is None else job.seed
    return unit_sets(job.data.model_dump_json(), "null" if job.probes is None else job.probes.model_dump_json(), seed)


@lru_cache(maxsize=8)
def unit_sets(data: str, probes: str, seed: int) -> PretrainSets:
    """Return images that were read before, or read them."""
    # Only the images of this job are read.
    job = {"name": "sets", "seed": seed, "data": json.loads(data), "probes": json.loads(probes)}
    return read_pretrain_sets(PretrainConfig.model_validate(job))


def unit_job(config: SweepConfig, masker: str, ratio: float, seed: int) -> PretrainConfig:
    """Return the pre-training job of one run.

    Args:
        config: The sweep.
        masker: Name of the masker in the report.
        ratio: Share of hidden tokens.
        seed: Seed of the run.
    """
    own = set(PretrainConfig.model_fields) - {"job"}
    content = {key: value for key, value in config.model_dump(mode="json").items() if key in own}
    chosen = config.maskers[masker].model_dump(mode="json")
    # Pictures and checkpoints do not matter here, and would make equal runs look different.
    plain = {"name": "sweep", "shown": 0, "checkpoint_every": 1}
    return PretrainConfig.model_validate({**content, **plain, "masker": chosen, "ratio": ratio, "seed": seed})


def sweep_units(config: SweepConfig) -> list[SweepUnit]:
    """Return all runs of a sweep: untrained encoders, and all maskers at all ratios, over seeds."""
    seeds = range(config.seed, config.seed + config.seeds)
    first = next(iter(config.maskers))
    jobs = {seed: unit_job(config, first, config.ratios[0], seed) for seed in seeds}
    inputs = {seed: pretrain_inputs(job_sets(job), job, "") for seed, job in jobs.items()}

    def unit(masker: str | None, ratio: float | None, seed: int) -> SweepUnit:
        job = unit_job(config, masker or first, ratio or config.ratios[0], seed)
        content = {"job": job.model_dump(mode="json"), "train": masker is not None, "inputs": inputs[seed]}
        return SweepUnit(masker, ratio, seed, json.dumps(content))

    return [unit(None, None, seed) for seed in seeds] + [
        unit(masker, ratio, seed) for masker in config.maskers for ratio in config.ratios for seed in seeds
    ]
