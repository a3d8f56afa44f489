"""The job of training a denoiser with clean symbols."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from myosotis.data.image_files import images_below
from myosotis.denoising.channel import Channel, Symbols, read_channel
from myosotis.denoising.config import DenoiserTrainConfig
from myosotis.denoising.contexts import Context1d, Context2d
from myosotis.denoising.denoiser_file import save_denoiser
from myosotis.denoising.files.dna import BASES, read_reads
from myosotis.denoising.files.images import FORMATS, read_bilevel
from myosotis.denoising.files.symbols import read_symbols
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.result import DenoiserResult
from myosotis.denoising.training_noise import TrainingNoise, blind
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.forecast import Phase, training_step
from myosotis.engine.job import Job
from myosotis.engine.processes import device
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.learning import LearningVerdict, Share, above_share, learning_verdict

_RATES = (0.05, 0.1, 0.2)
_CONFIDENCE = 0.95
MODEL = "denoiser.safetensors"
"""The file in ``model`` of a run."""


class DenoiserTrainJob(Job[DenoiserTrainConfig]):
    """One run of ``denoise-train``; see :class:`~myosotis.engine.job.Job`."""

    kind = "denoise-train"
    Result = DenoiserResult

    def prepare(self) -> None:
        """Read and check all inputs.

        Raises:
            InputError: An input or a setting is wrong.
        """
        config = self._config
        self._check_available()
        self._names, self._clean, self._lengths = read_clean(config)
        self._draws = _draws(config, len(self._names))
        count = len(self._clean)
        if count == 1:
            (only,), self._lengths = self._clean, [None, None]
            kept = round((1 - config.held_out) * len(only))
            self._clean, order, held = [only[:kept], only[kept:]], np.array([1, 0]), 1
            held_out = f"the last {config.held_out:.0%} of it"
        else:
            order = np.random.default_rng(derive_seed(config.seed, "held out")).permutation(count)
            held = max(1, round(config.held_out * count))
            held_out = str(held)
        if held >= len(order) or not all(sequence.size for sequence in self._clean):
            raise InputError(f"data: {count} sequences are too few to hold any out")
        self._held, self._trained = sorted(order[:held].tolist()), sorted(order[held:].tolist())
        symbols = sum(sequence.size for sequence in self._clean)
        self._say(f"{count} clean sequences or images, {symbols:,} symbols; {held_out} held out")

    def phases(self) -> Sequence[Phase]:
        passes, denoiser = self._config.training, self._denoiser()
        windows = torch.zeros(passes.batch_size, denoiser.context.size, dtype=torch.long, device=device())
        step = training_step(denoiser.network, lambda: denoiser.network(windows).square().mean())
        steps = passes.epochs * passes.steps(sum(self._clean[index].size for index in self._trained))
        return [Phase("training", steps, step)]

    def _denoiser(self) -> NeuralDenoiser:
        config, model = self._config, self._config.model
        context: Any = Context2d(model.neighbours) if config.data.images is not None else Context1d(model.half_width)
        return NeuralDenoiser(
            len(self._names),
            context,
            head=model.head,
            hidden=model.hidden,
            layers=model.layers,
            seed=config.seed,
            device=device(),
        )

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return a fingerprint of the clean symbols and the channel."""
        return {"clean": salted_fingerprint(self._content_hash(), salt)}

    def produce(self) -> Mapping[str, Any]:
        config, denoiser = self._config, self._denoiser()
        with self._run.timed("train"):
            denoiser.pretrain(
                [self._clean[index] for index in self._trained],
                self._draws,
                passes=config.training,
                lengths=[self._lengths[index] for index in self._trained],
                checkpoints=self._run.checkpoints / "train",
                log=self.log,
            )
        with self._run.timed("measure"):
            measured = self._measured(denoiser)
        noise = config.noise.model_dump(mode="json", exclude_none=True)
        notes = {"names": list(self._names), "noise": noise, "name": config.name}
        self._run.publish(lambda path: save_denoiser(denoiser, path / MODEL, notes))
        self._say(f"model file: {self._run.path / 'model' / MODEL}")
        return {
            "names": list(self._names),
            "context": denoiser.context.size,
            "head": denoiser.head,
            "symbols": {"train": self._count(self._trained), "held_out": self._count(self._held)},
            "measured": measured,
            "verdict": _verdict(measured[0], self._count(self._held)).model_dump(mode="json"),
            "lineage": {"data": self.inputs(self._run.salt), "model_out": weights_hash(denoiser.network)},
            "cost": self.cost(),
        }

    def clean_up(self) -> None:
        shutil.rmtree(self._run.checkpoints / "train", ignore_errors=True)

    def _content_hash(self) -> str:
        """The SHA-256 of the symbols in their order, and of the channel."""
        content = hashlib.sha256(" ".join(self._names).encode())
        for sequence, lengths in zip(self._clean, self._lengths, strict=True):
            content.update(f"{sequence.dtype} {sequence.shape} {lengths}".encode())
            content.update(np.ascontiguousarray(sequence).data)
        if isinstance(self._draws, Channel):
            content.update(self._draws.matrix.tobytes())
        return content.hexdigest()

    def _count(self, indices: Sequence[int]) -> int:
        return sum(self._clean[index].size for index in indices)

    def _measured(self, denoiser: NeuralDenoiser) -> list[dict[str, Any]]:
        """Error rates on held-out symbols, at the rate of the training or at several."""
        count, config = len(self._names), self._config
        channels: list[tuple[str, Channel]] = []
        if isinstance(self._draws, Channel):
            channels.append(("as trained", self._draws))
        limit = 1 - 1 / count
        channels += [(f"{rate:g}", Channel.symmetric(count, rate)) for rate in _RATES if rate < limit]
        rows = []
        for name, channel in channels:
            wrong = raw = total = 0
            for index in self._held:
                clean, lengths = self._clean[index], self._lengths[index]
                noisy = channel.corrupt(clean, np.random.default_rng(derive_seed(config.seed, "measure", name, index)))
                denoised = denoiser.denoise(noisy, channel, lengths=lengths)
                wrong += int((denoised != clean).sum())
                raw += int((noisy != clean).sum())
                total += clean.size
            rows.append({"noise": name, "raw": raw / total, "error": wrong / total})
        return rows


def _verdict(rates: Mapping[str, Any], symbols: int) -> LearningVerdict:
    """Right symbols after denoising against those before."""
    after, before = (Share.of([1 - rates[key]], [symbols]) for key in ("error", "raw"))
    names = {"measure": "right symbols after denoising", "against_of": "the noisy symbols"}
    return learning_verdict([above_share(after, before, confidence=_CONFIDENCE, **names)], [])


def read_clean(config: DenoiserTrainConfig) -> tuple[tuple[str, ...], list[Symbols], list[list[int] | None]]:
    """Return the names of the symbols, the clean sequences or planes, and the lengths of what stands in each.

    Raises:
        InputError: A file is missing or damaged, or there is none.
    """
    data = config.data
    if data.images is not None:
        suffixes = {suffix for known in FORMATS.values() for suffix in known}
        planes = [read_bilevel(path, data.threshold).bits for path in _files(data.images, suffixes)]
        return ("black", "white"), list(planes), [None] * len(planes)
    if data.dna is not None:
        clean: list[Symbols] = []
        for path in _files(data.dna, None):
            symbols, lengths = read_reads(path).load()
            clean += np.split(symbols, np.cumsum(lengths)[:-1])
        return tuple(BASES), clean, [None] * len(clean)
    clean = []
    for path in _files(data.text or (), None):
        content = read_symbols(path, data.alphabet)
        clean += np.split(content.symbols, np.cumsum(content.lengths or [])[:-1])
    return tuple(data.alphabet or ""), clean, [None] * len(clean)


def _files(paths: Sequence[str], suffixes: set[str] | None) -> list[Path]:
    files: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir() and suffixes is not None:
            files += images_below(path, tuple(sorted(suffixes)))
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file")
    return files


def _draws(config: DenoiserTrainConfig, count: int) -> TrainingNoise:
    noise = config.noise
    with settings_as_input("noise"):
        if noise.between is not None:
            return blind(*noise.between, symbols=count)
        channel = (
            Channel.symmetric(count, noise.rate) if noise.rate is not None else read_channel(Path(noise.channel or ""))
        )
    if (channel.inputs, channel.outputs) != (count, count):
        raise InputError(f"noise.channel: is a channel of {channel.outputs} symbols, expected {count}")
    return channel
