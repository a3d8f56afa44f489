"""The job of pre-training: read, pre-train, measure before and after, draw, write the result."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from myosotis.data.images import to_unit
from myosotis.data.sets import pixels_fingerprint, repeated_warning, set_fingerprints
from myosotis.engine.errors import settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.forecast import Phase
from myosotis.engine.job import Job
from myosotis.engine.processes import device, is_main_process, processes
from myosotis.evaluation.intervals import clopper_pearson
from myosotis.evaluation.learning import LearningVerdict, Share, above_share, learning_verdict
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.finetuning import FinetuneSettings, finetune, with_new_head
from myosotis.pretraining.forecast import pretrain_phase
from myosotis.pretraining.image_sets import pretrain_inputs, read_pretrain_sets, repeated_in
from myosotis.pretraining.masked_model import MaskedModel
from myosotis.pretraining.model_directory import save_pretrained
from myosotis.pretraining.pictures import draw_mask, draw_pictures, realised_ratios, reconstruct, shown_indices
from myosotis.pretraining.result import PretrainResult
from myosotis.pretraining.setup import (
    check_pretraining,
    describe_pretrained,
    new_model,
    new_probes,
    pretrain_settings,
)
from myosotis.pretraining.training import PretrainSettings, pretrain

_DRAWN_EPOCHS = 6


class PretrainJob(Job[PretrainConfig]):
    """One run of ``pretrain``; see :class:`~myosotis.engine.job.Job`."""

    kind = "pretrain"
    Result = PretrainResult

    def prepare(self) -> None:
        config = self._config
        self._check_available()
        self._sets = read_pretrain_sets(config)
        for name, images in (("training", self._sets.train), ("test", self._sets.test)):
            if images is not None and images.skipped:
                self._say(f"{len(images.skipped)} {name} images cannot be read and are skipped")
        self._repeated = repeated_in(config, self._sets)
        if self._repeated and self._sets.test is not None:
            self._say(repeated_warning(self._repeated, len(self._sets.test)))
        self._spec = describe_pretrained(config, self._sets.train)
        check_pretraining(config, self._sets, self._spec)
        channels, height, width = self._sets.train.images.shape[1:]
        self._say(f"{len(self._sets.train):,} images of {width}x{height} with {channels} channels to learn from")

    def phases(self) -> Sequence[Phase]:
        return [pretrain_phase(self._config, self._sets, new_model(self._config, self._spec))]

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of all images, and the hash of the weights to start from."""
        return pretrain_inputs(self._sets, self._config, salt)

    def produce(self) -> Mapping[str, Any]:
        config, sets, model = self._config, self._sets, new_model(self._config, self._spec)
        model_in = weights_hash(model)
        probes = new_probes(config, sets, device())
        model.to(device())
        before: dict[str, Any] | None = None
        if probes is not None:
            with self._run.timed("measure"):
                before = self._run.stored_or(
                    "before",
                    lambda: {"pixels": asdict(probes.pixels()), "untrained": asdict(probes.encoder(model))},
                )
            untrained, pixels = before["untrained"]["linear"], before["pixels"]["linear"]
            self._say(f"before: linear probe {untrained:.3f}, pixels {pixels:.3f}")
        settings = pretrain_settings(config)
        with self._run.timed("pretrain"), settings_as_input():
            outcome = pretrain(
                model,
                sets.train.images,
                settings,
                seed=config.seed,
                device=device(),
                checkpoints=self._run.checkpoints / "pretrain",
                checkpoint_every=config.checkpoint_every,
                log=self.log,
                after_epoch=lambda epoch: self._log_mask(model, settings, epoch),
            )
        after: dict[str, Any] = {}
        if probes is not None:
            with self._run.timed("measure"):
                after = self._run.stored_or("after", lambda: asdict(probes.encoder(model)))
            self._say(f"after: linear probe {after['linear']:.3f}, nearest neighbours {after['knn']:.3f}")
        tuned = self._finetuned(model, config.finetune) if config.finetune is not None else None
        if is_main_process():
            with self._run.timed("pictures"):
                self._keep_pictures(model)
        self._run.publish(lambda path: save_pretrained(model, self._spec, path))
        lineage = {
            "data": set_fingerprints(sets.train, sets.test or sets.train, self._run.salt),
            "learned": pixels_fingerprint((pixels for pixels, _ in sets.train.hashes), self._run.salt),
            "model_in": model_in,
            "model_out": weights_hash(model),
        }
        return {**self._result(model, before, after, tuned, outcome.steps), "lineage": lineage}

    def clean_up(self) -> None:
        for name in ("pretrain", "finetune"):
            shutil.rmtree(self._run.checkpoints / name, ignore_errors=True)

    # Parts ----------------------------------------------------------------------------------------------------------

    def _finetuned(self, model: MaskedModel, settings: FinetuneSettings) -> float:
        config, sets = self._config, self._sets
        labelled, test = sets.labelled, sets.test
        assert labelled is not None  # noqa: S101 - it has been checked
        assert test is not None  # noqa: S101
        classifier = with_new_head(
            model.encoder, self._spec.encoder, len(labelled.classes), drop_path=settings.drop_path, seed=config.seed
        )
        with self._run.timed("finetune"):
            accuracy = self._run.stored_or(
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
        steps: int,
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
            "objective": config.objective.name,
            "masker": config.masker.name,
            "ratio": config.ratio,
            "images": len(sets.train),
            "test_images": 0 if sets.test is None else len(sets.test),
            "repeated": self._repeated,
            "tokens": model.grid[0] * model.grid[1],
            "probes": measured,
            "verdict": None if measured is None else _verdict(measured, config.confidence).model_dump(mode="json"),
            "finetuned": tuned,
            "masks": {key: value for key, value in history[-1].items() if key not in ("phase", "epoch", "step")},
            "cost": self.cost(
                steps=steps,
                processes=processes(),
                parameters_encoder=sum(weight.numel() for weight in encoder.parameters()),
                parameters_training=sum(weight.numel() for weight in model.parameters()),
            ),
        }


def _verdict(measured: Mapping[str, Any], confidence: float) -> LearningVerdict:
    """The linear probe after pre-training against the encoder before and against raw pixels."""
    after, before, pixels = (
        Share.of([measured[name]["linear"]], [measured["count"]]) for name in ("pretrained", "untrained", "pixels")
    )
    return learning_verdict(
        [
            above_share(after, control, measure="linear probe on test images", against_of=name, confidence=confidence)
            for name, control in (("features of the encoder before", before), ("raw pixels", pixels))
        ],
        [],
    )
