"""The whole job: read, train if asked to, audit, unlearn, compare, audit again, say what was found."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.images import ImageSet
from myosotis.engine.checkpoint import is_complete, newest_complete
from myosotis.engine.errors import DivergedError, InputError, settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import check_unsharded, device, is_main_process, processes, wait_for_everyone
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed
from myosotis.models.image_classifier import ClassifierSpec, load_classifier, save_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.report.pictures import encoded_png
from myosotis.unlearning.classifier.audit import Audit, audit_sets, output_distances, predict
from myosotis.unlearning.classifier.batch_norm import drift, running_statistics
from myosotis.unlearning.classifier.config import (
    ClassifierUnlearningConfig,
    MethodConfig,
)
from myosotis.unlearning.classifier.goals import Goal, true_label_confidence
from myosotis.unlearning.classifier.inputs import (
    Inputs,
    check_pretrained,
    describe_model,
    known_classes,
    load_weights,
    read_inputs,
    read_new_labels,
)
from myosotis.unlearning.classifier.methods import build_method
from myosotis.unlearning.classifier.outcome import summarise
from myosotis.unlearning.classifier.representations import layer_similarity, main_layers
from myosotis.unlearning.classifier.result import ClassifierResult
from myosotis.unlearning.classifier.sequential import unlearn_sequence
from myosotis.unlearning.classifier.settings import UnlearnSettings
from myosotis.unlearning.classifier.shadow import ShadowPair, shadow_audit, shadow_pair
from myosotis.unlearning.classifier.stopping import ReferenceLevel, StopRule
from myosotis.unlearning.classifier.stress import copies_accuracy, relearning_curve, steps_to_return
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier
from myosotis.unlearning.classifier.unlearner import unlearn_instances
from myosotis.unlearning.classifier.verdict import VerdictSettings, judge

_CKA_IMAGES = 500
_SHADOW_TEST = 2000


class ClassifierUnlearningJob(Job[ClassifierUnlearningConfig]):
    """One run of ``myosotis unlearn classifier``; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-classifier"
    Result = ClassifierResult
    private = True  # its checkpoints know what is forgotten

    _looked_at: dict[str, ImageSet] | None = None
    _prints: dict[str, Any] | None = None

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        with settings_as_input():
            check_unsharded()
        self._check_available()
        self._read()

    def _read(self) -> None:
        config = self._config
        classes, loaded = known_classes(config.model)
        self._inputs: Inputs = read_inputs(config, classes)
        self._say(
            f"images: {len(self._inputs.forget)} to forget, {_count(self._inputs.remaining)} remaining, "
            f"{_count(self._inputs.test)} for the test, {len(self._inputs.classes)} classes"
        )
        self._new_labels: Tensor | None = None
        if config.new_labels not in ("runner_up", "random"):
            self._new_labels = read_new_labels(Path(config.new_labels), self._inputs.forget)
        if loaded is None:
            self._spec = describe_model(config.model, self._inputs)
            if config.model.pretrained and config.train is None:
                check_pretrained(self._spec)
            self._base = load_weights(self._spec, config.model, config.seed)
        else:
            self._base, self._spec = loaded
        self._check_model(self._base, self._spec, "the model")
        if config.train is not None and config.train.batch_size % processes():
            raise InputError(
                f"train.batch_size is {config.train.batch_size}, which {processes()} processes cannot share evenly"
            )
        self._reference: NormalizedClassifier | None = None
        if config.reference not in (None, "retrain"):
            self._reference, spec = load_classifier(Path(str(config.reference)))
            self._check_model(self._reference, spec, "the reference")

    def _check_model(self, model: nn.Module, spec: ClassifierSpec, name: str) -> None:
        if spec.classes and spec.classes != self._inputs.classes:
            raise InputError(
                f"{name} knows the classes {', '.join(spec.classes)}, in this order; the images have "
                f"{', '.join(self._inputs.classes)}"
            )
        channels = self._inputs.forget.images.shape[1]
        if spec.in_channels != channels:
            # A normalisation would quietly spread one channel over three.
            raise InputError(f"{name} takes images with {spec.in_channels} channels, these have {channels}")
        images = self._inputs.forget.subset(range(min(2, len(self._inputs.forget)))).pixels()
        try:
            with torch.no_grad():
                found = model.eval()(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(
                f"{name} does not take these images: {(str(error) or type(error).__name__).splitlines()[0]}"
            ) from None
        if found.ndim != 2 or found.shape[1] != len(self._inputs.classes):
            raise InputError(
                f"{name} must return logits of shape (batch, {len(self._inputs.classes)}), one for each class; "
                f"for {len(images)} images it gave {tuple(found.shape)}"
            )

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the hashes of the models, and the fingerprints of the images."""
        models = {"the model": weights_hash(self._base)}
        if self._reference is not None:
            models["the reference"] = weights_hash(self._reference)
        return {**models, **self._fingerprints(salt)}

    def produce(self) -> Mapping[str, Any]:
        """Teach, audit, unlearn, audit again, compare and judge."""
        config = self._config
        original = self._trained("target", self._everything) if config.train is not None else self._base
        original.to(device()).eval()
        if config.reference == "retrain":
            self._reference = self._trained("reference", self._inputs.remaining)
        if self._reference is not None:
            self._reference.to(device()).eval()
        audits = {"before": self._audit("before", original)}
        if self._reference is not None:
            audits["reference"] = self._audit("reference", self._reference)
        model, outcome = self._unlearned(original, audits)
        audits["after"] = self._audit("after", model)
        variants = [self._variant(number, original, audits) for number in range(len(config.compare))]
        result = self._result(audits, outcome, variants)
        result["distances"] = self._distances(original, model)
        result["stress"] = self._stress({"before": original, "after": model, "reference": self._reference})
        if config.audit.cka:
            result["cka"] = self._kept_or("cka", lambda: self._cka(original, model))
        if config.audit.shadow:
            result["shadow"] = self._shadow(original, model, config.audit.shadow)
        result["verdict"] = self._verdict(audits, outcome, result.get("shadow"))
        if self._show_samples and is_main_process():
            self._write_samples(outcome)
        self.publish(lambda path: self._save(model, path))
        lineage = {
            "base": None if config.train is not None else weights_hash(self._base),
            "data": self._fingerprints(self._run.salt),
            "model_in": weights_hash(original),
            "model_out": weights_hash(model),
        }
        return {**result, "lineage": lineage, "cost": self._cost(model, outcome)}

    def clean_up(self) -> None:
        """Remove the checkpoints, and unless they are to be kept the models from before."""
        for name in ("unlearned", *(() if self._config.keep_original else ("target", "reference"))):
            shutil.rmtree(self._run.checkpoints / name, ignore_errors=True)
        for path in self._run.checkpoints.glob("train-*"):
            shutil.rmtree(path, ignore_errors=True)

    def audit_again(self, shadow: int | None = None) -> dict[str, Any]:
        """Look at the model of a finished run anew: is it the one that was reported, and do its figures come out again?

        Args:
            shadow: Pairs of shadow models to train, instead of as many as the configuration says; what is there of an
                earlier call is taken up.

        Returns:
            ``model_matches`` and ``data_matches``, whether the fingerprints are those of the run; ``metrics`` and, with
            shadow models, ``shadow``; ``reproduced``, whether every accuracy equals the reported one.

        Raises:
            InputError: The run is not finished, or its inputs have gone.
        """
        run = self._run = Run.read(self._path)
        result = run.result()
        self._read()
        model, _ = load_classifier(run.path / "model")
        model.to(device()).eval()
        metrics = audit_sets(
            model,
            self._sets(),
            bins=self._config.audit.bins,
            confidence=self._config.audit.confidence,
        ).metrics
        reported = result["metrics"]["after"]
        found: dict[str, Any] = {
            "model_matches": weights_hash(model) == result["lineage"]["model_out"],
            "data_matches": self._fingerprints(self._run.salt) == result["lineage"]["data"],
            "metrics": metrics,
            "reproduced": all(metrics[name]["accuracy"] == reported[name]["accuracy"] for name in self._sets()),
        }
        pairs = self._config.audit.shadow if shadow is None else shadow
        if pairs:
            found["shadow"] = self._shadow(None, model, pairs)
        return found

    # Phases ---------------------------------------------------------------------------------------------------------

    @property
    def _everything(self) -> ImageSet:
        """What the model learns: the remaining images and those that it will have to forget."""
        forget, remaining = self._inputs.forget, self._inputs.remaining
        assert remaining is not None  # noqa: S101 - the configuration has been checked
        return ImageSet(
            torch.cat([remaining.images, forget.images]),
            torch.cat([remaining.labels, forget.labels]),
            (*remaining.names, *(f"forget/{name}" for name in forget.names)),
            self._inputs.classes,
        )

    def _sets(self) -> dict[str, ImageSet]:
        """What the audit looks at; of large sets a part that depends on the names and the seed alone."""
        if self._looked_at is None:
            most, seed = self._config.audit.samples, self._config.seed
            self._looked_at = {"forget": self._inputs.forget}
            remaining = self._inputs.remaining
            trained, held = self._split_remaining()
            sets = {
                "remaining": None if remaining is None else remaining.subset(trained),
                "held_remaining": remaining.subset(held) if remaining is not None and held else None,
                "test": self._inputs.test,
            }
            for name, images in sets.items():
                if images is not None and len(images):
                    some = images.subset(images.shuffled(seed, "audit")[:most]) if len(images) > most else images
                    self._looked_at[name] = some
        return self._looked_at

    def _retained(self, method: MethodConfig) -> ImageSet | None:
        """What a method may train on: all but what is held out of it; retraining needs all, as the original had."""
        remaining = self._inputs.remaining
        if remaining is None or method.name == "retrain":
            return remaining
        return remaining.subset(self._split_remaining()[0])

    def _split_remaining(self) -> tuple[list[int], list[int]]:
        """The remaining images that unlearning may train on, and those that are held out of it for the audit.

        They are the same whatever the method, so that runs of several methods can be compared.
        """
        remaining, config = self._inputs.remaining, self._config
        if remaining is None:
            return [], []
        order = remaining.shuffled(config.seed, "held out")
        count = round(config.audit.held_retain * len(order))
        return sorted(order[count:]), sorted(order[:count])

    def _kept_sets(self, method: MethodConfig) -> tuple[str, ...]:
        """The sets that what is kept is judged by: those that the method did not train on."""
        if not build_method(method.name, method.settings).reads_retain:
            return ("remaining", "held_remaining", "test")
        return ("test",) if method.name == "retrain" else ("held_remaining", "test")

    def _fingerprints(self, salt: str) -> dict[str, Any]:
        """One of each image to be forgotten; one of each other set as a whole."""
        if self._prints is None:
            inputs = self._inputs
            self._prints = {
                "forget": [salted_fingerprint(inputs.forget.digest(place), salt) for place in range(len(inputs.forget))]
            }
            for name, images in (("remaining", inputs.remaining), ("test", inputs.test)):
                if images is not None:
                    every = "".join(sorted(images.digest(place) for place in range(len(images))))
                    self._prints[name] = salted_fingerprint(every, salt)
        return self._prints

    def _train_settings(self) -> TrainSettings:
        settings = self._config.train
        assert settings is not None  # noqa: S101 - the configuration has been checked
        return settings

    def _trained(self, name: str, images: ImageSet | None) -> NormalizedClassifier:
        """A model taught from the same fresh weights; taken from the run if it was done before."""
        assert images is not None  # noqa: S101 - the configuration has been checked
        place = self._run.checkpoints / name
        done = is_complete(place)
        wait_for_everyone()
        if not done:
            self._say(f"training the {name} model on {len(images)} images")
            model = self._fresh(self._config.seed).to(device())
            if newest_complete(self._run.checkpoints / f"train-{name}") is not None:
                self._run.keep("training-resumed.json", True)
            with self._timed(f"train_{name}"):
                train_classifier(
                    model,
                    images.images,
                    images.labels,
                    self._train_settings(),
                    seed=derive_seed(self._config.seed, "training"),
                    checkpoints=self._run.checkpoints / f"train-{name}",
                    description=f"training the {name} model",
                )
            if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
                raise DivergedError(f"training the {name} model diverged; lower train.learning_rate")
            self.publish(lambda path: self._save(model, path), f"checkpoints/{name}")
        # Loaded again even when just made, so that a resumed run goes on from the same bytes.
        return load_classifier(place)[0]

    def _fresh(self, seed: int) -> NormalizedClassifier:
        return load_weights(self._spec, self._config.model, seed)

    def _save(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, NormalizedClassifier)  # noqa: S101 - every model of a job is one
        save_classifier(model, self._spec, path)

    def _audit(self, name: str, model: nn.Module) -> Audit:
        def look() -> dict[str, Any]:
            self._say(f"auditing the model {name}" if name != "reference" else "auditing the reference model")
            settings = self._config.audit
            with self._timed("audit"):
                return audit_sets(
                    model,
                    self._sets(),
                    bins=settings.bins,
                    confidence=settings.confidence,
                ).told()

        return Audit.read(self._kept_or(f"audit-{name}", look))

    def _stop_rule(self, audits: dict[str, Audit]) -> StopRule:
        stop = self._config.stop
        level = None
        if stop.at == "reference":
            of_forget = audits["reference"].metrics["forget"]
            level = ReferenceLevel(of_forget["accuracy"]["mean"], of_forget["loss"])
        return StopRule(stop.at, stop.margin, level, stop.every)

    def _arguments(
        self, method: MethodConfig, goal: Goal, training: UnlearnSettings, audits: dict[str, Audit]
    ) -> dict[str, Any]:
        retain = None
        if build_method(method.name, method.settings).reads_retain:
            images = self._retained(method)
            if images is not None:
                retain = (images.pixels(device()), images.labels.to(device()))
        return {
            "goal": goal,
            "method": method.name,
            "method_settings": method.settings,
            "settings": training,
            "retain": retain,
            "stop": self._stop_rule(audits),
        }

    def _unlearned(self, original: NormalizedClassifier, audits: dict[str, Audit]) -> tuple[nn.Module, Any]:
        """The model without the instances, and how that went, ready for JSON."""
        config, place = self._config, self._run.checkpoints / "unlearned"
        done = is_complete(place) and self._run.kept("unlearned.json") is not None
        wait_for_everyone()
        if not done:
            forget = self._inputs.forget
            images, labels = forget.pixels(device()), forget.labels.to(device())
            arguments = self._arguments(config.method, config.goal, config.training, audits)
            self._say(f"unlearning by {build_method(config.method.name).card.title}")
            self._run.rewind(lambda event: event.get("phase") != "unlearn")
            new_labels: Any = config.new_labels if self._new_labels is None else self._new_labels
            requests: list[list[float]] | None = None
            sizes = list(self._inputs.requests)
            parts = torch.split(torch.arange(len(forget)), sizes)
            with settings_as_input(), self._timed("unlearn"):
                if len(sizes) == 1:
                    results = [
                        unlearn_instances(
                            original, (images, labels), seed=config.seed, new_labels=new_labels, **arguments
                        )
                    ]
                    model = results[0].model
                else:
                    model, results, requests = unlearn_sequence(
                        original,
                        [(images[part], labels[part]) for part in parts],
                        replay=config.replay,
                        seed=config.seed,
                        new_labels=new_labels,
                        on_result=lambda number, _: self._say(f"request {number} of {len(sizes)} is done"),
                        **arguments,
                    )
            for number, result in enumerate(results, start=1):
                for event in result.history:
                    tag = {} if requests is None else {"request": number}
                    self.log({"phase": "unlearn", **tag, **_finite(event)})
            self.publish(lambda path: self._save(model, path), "checkpoints/unlearned")
            self._run.keep(
                "unlearned.json",
                summarise(
                    results,
                    sizes,
                    requests,
                    predict(model, forget),
                    self._config.stop.margin,
                    drift(running_statistics(original), running_statistics(model)),
                ),
            )
            wait_for_everyone()
        return load_classifier(place)[0].to(device()).eval(), self._run.kept("unlearned.json")

    def _variant(self, number: int, original: nn.Module, audits: dict[str, Audit]) -> Any:
        """Another method on the same request, with the figures that it is compared by."""
        variant = self._config.compare[number]

        def make() -> dict[str, Any]:
            self._say(f"comparing with {variant.label}")
            forget = self._inputs.forget
            training = variant.training or self._config.training
            new_labels: Any = self._config.new_labels if self._new_labels is None else self._new_labels
            with settings_as_input(f"compare, {variant.label}"):
                result = unlearn_instances(
                    original,
                    (forget.pixels(device()), forget.labels.to(device())),
                    seed=self._config.seed,
                    new_labels=new_labels,
                    **self._arguments(variant.method, variant.goal, training, audits),
                )
            settings = self._config.audit
            metrics = audit_sets(result.model, self._sets(), bins=settings.bins, confidence=settings.confidence).metrics
            return {
                "name": variant.label,
                "method": variant.method.name,
                "goal": variant.goal,
                "converged": result.converged,
                "stop_reason": result.stop_reason,
                "steps": result.steps,
                "seconds": result.seconds,
                "batch_norm_drift": result.batch_norm_drift,
                "facts": result.facts,
                "metrics": metrics,
            }

        def timed() -> dict[str, Any]:
            with self._timed("compare"):
                return make()

        return self._kept_or(f"variant-{number}", timed)

    def _distances(self, original: nn.Module, model: nn.Module) -> dict[str, Any]:
        """How far the result is from the original and from the reference, set by set."""
        found: dict[str, Any] = {}
        sets = self._sets()
        with self._timed("audit"):
            after = {name: predict(model, images) for name, images in sets.items()}
            for other_name, other in (("before", original), ("reference", self._reference)):
                if other is not None:
                    found[other_name] = {
                        name: output_distances(after[name], predict(other, images)) for name, images in sets.items()
                    }
        return found

    def _stress(self, models: dict[str, nn.Module | None]) -> dict[str, Any]:
        settings, forget = self._config.audit, self._inputs.forget
        images, labels = forget.pixels(device()), forget.labels.to(device())
        there = {name: model for name, model in models.items() if model is not None}
        found: dict[str, Any] = {}

        def relearn() -> dict[str, Any]:
            assert settings.relearning is not None  # noqa: S101 - asked before
            curves = {
                name: relearning_curve(
                    model, images, labels, **settings.relearning.model_dump(), seed=self._config.seed
                )
                for name, model in there.items()
            }
            level = curves["before"][0]["held"]
            return {
                "level": level,
                "curves": curves,
                "steps_to_return": {name: steps_to_return(curve, level) for name, curve in curves.items()},
            }

        with self._timed("stress"):
            if settings.relearning is not None and len(forget) > 1:
                found["relearning"] = self._kept_or("relearning", relearn)
            if settings.copies:
                found["copies"] = self._kept_or(
                    "copies",
                    lambda: {
                        name: copies_accuracy(model, images, labels, self._config.seed) for name, model in there.items()
                    },
                )
        return found

    def _cka(self, original: NormalizedClassifier, model: nn.Module) -> dict[str, Any]:
        with self._timed("cka"):
            return {
                "layers": main_layers(original.classifier, "classifier."),
                "similarity": layer_similarity(original, model, self._sets(), _CKA_IMAGES, self._config.seed),
                "images": _CKA_IMAGES,
            }

    def _shadow(self, original: nn.Module | None, model: nn.Module, count: int) -> dict[str, Any]:
        """U-LiRA and RMIA; every pair of shadow models is kept, so that an interrupted audit goes on."""
        config, inputs = self._config, self._inputs
        with settings_as_input():
            config.check_shadow()
        assert inputs.remaining is not None and inputs.test is not None  # noqa: PT018, S101 - just checked
        test = inputs.test.subset(inputs.test.shuffled(config.seed, "shadow test")[:_SHADOW_TEST])
        remaining = inputs.remaining
        new_labels: Any = config.new_labels  # not a file: that has been checked

        def train(images: ImageSet, seed: int) -> nn.Module:
            fresh = self._fresh(seed).to(device())
            train_classifier(
                fresh, images.images, images.labels, self._train_settings(), seed=seed, description=self._shadow_at
            )
            return fresh

        def unlearn(learnt: nn.Module, forget: ImageSet, part: ImageSet, seed: int) -> nn.Module:
            arguments = self._arguments(config.method, config.goal, config.training, {})
            if arguments["retain"] is not None:
                arguments["retain"] = (part.pixels(device()), part.labels.to(device()))
            pair = forget.pixels(device()), forget.labels.to(device())
            return unlearn_instances(learnt, pair, seed=seed, new_labels=new_labels, **arguments).model

        pairs = []
        for number in range(count):
            self._shadow_at = f"shadow pair {number + 1} of {count}"

            def make(number: int = number) -> dict[str, Any]:
                self._say(self._shadow_at)
                with self._timed("shadow"):
                    return asdict(
                        shadow_pair(
                            number,
                            inputs.forget,
                            remaining,
                            test,
                            train,
                            unlearn,
                            kept_share=config.audit.shadow_share,
                            seed=config.seed,
                        )
                    )

            pairs.append(ShadowPair(**self._kept_or(f"shadow-{number}", make)))

        def of(judged: nn.Module, images: ImageSet) -> Tensor:
            found = predict(judged, images).softmax(dim=1)
            return found.gather(1, images.labels.unsqueeze(1)).flatten()

        judged = {"before": original, "after": model}
        return shadow_audit(
            pairs,
            true_label_confidence(predict(model, inputs.forget), inputs.forget.labels),
            {name: (of(one, inputs.forget), of(one, test)) for name, one in judged.items() if one is not None},
            confidence=config.audit.confidence,
        )

    # What was found -------------------------------------------------------------------------------------------------

    def _result(self, audits: dict[str, Audit], outcome: Any, variants: list[Any]) -> dict[str, Any]:
        config = self._config
        prints = self._fingerprints(self._run.salt)["forget"]
        outcome["instances"] = [
            {**instance, "fingerprint": prints[place]} for place, instance in enumerate(outcome["instances"])
        ]
        return {
            "goal": config.goal,
            "request": config.request.model_dump(mode="json"),
            "classes": list(self._inputs.classes),
            "images": {
                "forget": len(self._inputs.forget),
                "remaining": _count(self._inputs.remaining),
                "test": _count(self._inputs.test),
                "audited": {name: len(images) for name, images in self._sets().items()},
                "by_class": _histogram(self._inputs.forget),
                "duplicates": {"same": self._inputs.same, "near": self._inputs.near},
            },
            "metrics": {name: audits[name].metrics for name in ("before", "after", "reference") if name in audits},
            "unlearning": outcome,
            "variants": variants,
            "reads_retain": build_method(config.method.name, config.method.settings).reads_retain,
        }

    def _verdict(self, audits: dict[str, Audit], outcome: Any, shadow: Any) -> dict[str, Any]:
        config = self._config
        method = build_method(config.method.name, config.method.settings)
        return judge(
            audits,
            outcome,
            {name: images.labels for name, images in self._sets().items()},
            len(self._inputs.classes),
            VerdictSettings(config.audit.most_lost, config.audit.margin, config.audit.confidence),
            by_goal=method.stops_at_goal and config.stop.at != "reference",
            kept_sets=self._kept_sets(config.method),
            shadow=shadow,
        )

    def _cost(self, model: nn.Module, outcome: Any) -> dict[str, Any]:
        seconds = self._seconds()
        training = seconds.get("train_reference", seconds.get("train_target"))
        if self._run.kept("training-resumed.json"):
            training = None  # what a killed session spent on it is not known
        return self.cost(
            share_of_retraining=None if not training else outcome["seconds"] / training,
            parameters=sum(value.numel() for value in model.parameters()),
        )

    def _write_samples(self, outcome: Any) -> None:
        """The forgotten images as PNG, with what the models take them for; only on the user's word."""
        forget = self._inputs.forget
        rows = [
            {
                "png": encoded_png(forget.images[place].permute(1, 2, 0).contiguous().numpy()),
                "label": forget.classes[int(forget.labels[place])],
                "before": forget.classes[outcome["instances"][place]["answer_before"]],
                "after": forget.classes[outcome["instances"][place]["answer_after"]],
            }
            for place in range(len(forget))
        ]
        write_json(self._run.path / "samples.json", rows, private=True)


def _count(images: ImageSet | None) -> int:
    return 0 if images is None else len(images)


def _histogram(images: ImageSet) -> dict[str, int]:
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {name: count for name, count in zip(images.classes, counts, strict=True) if count}


def _finite(event: dict[str, float]) -> dict[str, float | None]:
    """JSON has no word for what a diverged loss is."""
    return {name: value if abs(value) < float("inf") else None for name, value in event.items()}
