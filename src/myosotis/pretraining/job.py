"""The job of pre-training: read, pre-train, measure before and after, draw, write the result."""

import shutil
import time
from dataclasses import asdict
from typing import Any

from myosotis.data.images import to_unit
from myosotis.data.sets import repeated_warning, set_fingerprints
from myosotis.engine.checkpoint import seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import device, is_main_process, processes
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import clopper_pearson
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.finetuning import finetune, with_new_head
from myosotis.pretraining.image_sets import pretrain_inputs, read_pretrain_sets, repeated_in
from myosotis.pretraining.masked_model import MaskedModel
from myosotis.pretraining.model_directory import save_pretrained
from myosotis.pretraining.pictures import draw_mask, draw_pictures, realised_ratios, reconstruct, shown_indices
from myosotis.pretraining.report import KIND
from myosotis.pretraining.setup import (
    check_pretraining,
    describe_pretrained,
    finetune_settings,
    new_model,
    new_probes,
    pretrain_settings,
)
from myosotis.pretraining.training import PretrainSettings, pretrain

_DRAWN_EPOCHS = 6


class PretrainJob(Job[PretrainConfig]):
    """One run of ``myosotis pretrain``; see :class:`~myosotis.engine.job.Job`."""

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        self._check_available()
        self._sets = read_pretrain_sets(config)
        for name, images in (("training", self._sets.train), ("test", self._sets.test)):
            if images is not None and images.skipped:
                self._say(f"{len(images.skipped)} {name} images cannot be read and are left out")
        self._repeated = repeated_in(config, self._sets)
        if self._repeated and self._sets.test is not None:
            self._say(repeated_warning(self._repeated, len(self._sets.test)))
        self._spec = describe_pretrained(config, self._sets.train)
        check_pretraining(config, self._sets, self._spec)
        channels, height, width = self._sets.train.images.shape[1:]
        self._say(f"{len(self._sets.train):,} images of {width}x{height} with {channels} channels to learn from")

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
            DivergedError: Pre-training or fine-tuning diverged.
        """
        config, started, sets = self._config, time.monotonic(), self._sets
        run = self._open(config.seed)
        fingerprints = set_fingerprints(sets.train, sets.test or sets.train, run.salt)
        model = new_model(config, self._spec)
        run.check_inputs(pretrain_inputs(sets, model if config.model.init_from is not None else None, run.salt))
        if self._finished_already():
            return run
        model_in = weights_hash(model)
        probes = new_probes(config, sets, device())
        model.to(device())
        before: dict[str, Any] | None = None
        if probes is not None:
            with self._timed("measure"):
                before = self._kept_or(
                    "before",
                    lambda: {"pixels": asdict(probes.pixels()), "untrained": asdict(probes.encoder(model))},
                )
            self._say(
                f"before: linear probe {before['untrained']['linear']:.3f}, pixels {before['pixels']['linear']:.3f}"
            )
        settings = pretrain_settings(config)
        with self._timed("pretrain"), settings_as_input():
            outcome = pretrain(
                model,
                sets.train.images,
                settings,
                seed=config.seed,
                device=device(),
                checkpoints=run.checkpoints / "pretrain",
                log=run.log,
                after_epoch=lambda epoch: self._log_mask(model, settings, epoch),
            )
        after: dict[str, Any] = {}
        if probes is not None:
            with self._timed("measure"):
                after = self._kept_or("after", lambda: asdict(probes.encoder(model)))
            self._say(f"after: linear probe {after['linear']:.3f}, nearest neighbours {after['knn']:.3f}")
        tuned = self._finetuned(model) if config.finetune is not None else None
        if is_main_process():
            with self._timed("pictures"):
                self._keep_pictures(model)
            staged = run.path / ".model.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_pretrained(model, self._spec, staged)
            seal(staged, run.path / "model")
        lineage = {"data": fingerprints, "model_in": model_in, "model_out": weights_hash(model)}
        run.finish(self._result(model, before, after, tuned, lineage, outcome.steps, started))
        if is_main_process():
            for name in ("pretrain", "finetune"):
                shutil.rmtree(run.checkpoints / name, ignore_errors=True)
        return run

    # Parts ----------------------------------------------------------------------------------------------------------

    def _finetuned(self, model: MaskedModel) -> float:
        config, sets = self._config, self._sets
        settings = finetune_settings(config)
        labelled, test = sets.labelled, sets.test
        assert labelled is not None  # noqa: S101 - it has been checked
        assert test is not None  # noqa: S101
        classifier = with_new_head(
            model.encoder, self._spec.encoder, len(labelled.classes), drop_path=settings.drop_path, seed=config.seed
        )
        with self._timed("finetune"):
            accuracy = self._kept_or(
                "finetuned",
                lambda: finetune(
                    classifier,
                    labelled,
                    test,
                    settings,
                    seed=config.seed,
                    device=device(),
                    checkpoints=self._run.checkpoints / "finetune",
                ),
            )
        self._say(f"fine-tuned: accuracy {accuracy:.3f}")
        return float(accuracy)

    def _log_mask(self, model: MaskedModel, settings: PretrainSettings, epoch: int) -> None:
        """Log what would be hidden of the first shown image now, in a few epochs."""
        config, interval = self._config, max(1, settings.epochs // _DRAWN_EPOCHS)
        if not config.shown or (epoch % interval and epoch != settings.epochs):
            return
        images = self._sets.shown
        first = to_unit(images.images[shown_indices(images, 1, config.seed)].to(device()))
        progress = epoch / settings.epochs
        ratio = settings.ratio_at(progress)
        reconstruction = reconstruct(model, first, ratio, progress, config.seed + epoch)
        hidden = reconstruction.mask.hidden[0].nonzero().flatten().tolist()
        self._run.log({"phase": "mask", "epoch": epoch, "hidden": hidden})

    def _keep_pictures(self, model: MaskedModel) -> None:
        config, images = self._config, self._sets.shown
        indices = shown_indices(images, config.shown, config.seed)
        arguments = (pretrain_settings(config).ratio_at(1), config.seed, device())
        masks = {event["epoch"]: event["hidden"] for event in self._run.events() if event.get("phase") == "mask"}
        first = to_unit(images.images[indices[:1]])
        write_json(
            self._run.path / "pictures.json",
            {
                "images": draw_pictures(model, images, indices, *arguments),
                "masks": [
                    {"epoch": epoch, "png": draw_mask(first[0], hidden, model.grid)}
                    for epoch, hidden in sorted(masks.items())
                ],
                "ratios": realised_ratios(model, images, *arguments),
            },
        )

    def _result(
        self,
        model: MaskedModel,
        before: dict[str, Any] | None,
        after: dict[str, Any],
        tuned: float | None,
        lineage: dict[str, Any],
        steps: int,
        started: float,
    ) -> dict[str, Any]:
        config, sets = self._config, self._sets
        # A resumed run logs some epochs again; the last of each counts.
        epochs = {event["epoch"]: event for event in self._run.events() if event.get("phase") == "pretrain"}
        history = [epochs[epoch] for epoch in sorted(epochs)]
        measured: dict[str, Any] | None = None
        if before is not None and sets.test is not None:
            total = len(sets.test)
            intervals = {
                kind: dict(
                    zip(
                        ("low", "high"),
                        clopper_pearson(round(after[kind] * total), total, config.confidence),
                        strict=True,
                    )
                )
                for kind in ("linear", "knn")
            }
            measured = {**before, "pretrained": after, "intervals": intervals, "count": total}
        encoder: Any = model.encoder
        return {
            "kind": KIND,
            "name": config.name,
            "objective": config.objective.name,
            "masker": config.masker.name,
            "ratio": config.ratio,
            "seed": config.seed,
            "images": len(sets.train),
            "test_images": 0 if sets.test is None else len(sets.test),
            "repeated": self._repeated,
            "tokens": model.grid[0] * model.grid[1],
            "probes": measured,
            "finetuned": tuned,
            "masks": {key: value for key, value in history[-1].items() if key not in ("phase", "epoch", "step")},
            "lineage": lineage,
            "cost": {
                "job_seconds": self._seconds(),
                "last_session_seconds": time.monotonic() - started,
                "steps": steps,
                "processes": processes(),
                "parameters_encoder": sum(weight.numel() for weight in encoder.parameters()),
                "parameters_training": sum(weight.numel() for weight in model.parameters()),
                "peak_memory_bytes": peak_memory(),
            },
        }
