"""The shadow phase: pairs of models repeat the whole job, for an attack by somebody who can do the same."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from myosotis.data.images import ImageSet
from myosotis.engine.errors import settings_as_input
from myosotis.engine.processes import device
from myosotis.unlearning.classifier.audit import predict, true_label_probabilities
from myosotis.unlearning.classifier.goals import true_label_confidence
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.job.teaching import train_settings
from myosotis.unlearning.classifier.job.unlearning import Unlearning
from myosotis.unlearning.classifier.shadow import ShadowPair, shadow_audit, shadow_pair
from myosotis.unlearning.classifier.training import train_classifier
from myosotis.unlearning.classifier.unlearner import unlearn_instances

_TEST_IMAGES = 2000


class ShadowAuditing:
    """U-LiRA and RMIA; every pair of shadow models is stored, so that an interrupted audit goes on.

    Args:
        context: The context of the job.

    Raises:
        InputError: Shadow models cannot repeat this job.
    """

    def __init__(self, context: JobContext) -> None:
        with settings_as_input():
            context.config.check_shadow()
        test = context.inputs.test
        assert test is not None  # noqa: S101 - just checked
        self._context = context
        self._test = test.subset(test.shuffled(context.config.seed, "shadow test")[:_TEST_IMAGES])

    def audit(self, count: int, models: Mapping[str, nn.Module]) -> dict[str, Any]:
        """Return what the attacks find, see :func:`~myosotis.unlearning.classifier.shadow.shadow_audit`.

        Args:
            count: Pairs of shadow models.
            models: Models that are attacked by RMIA; ``after``, which must be there, by U-LiRA too.
        """
        forget = self._context.inputs.forget
        pairs = [ShadowPair(**self._stored_pair(number, count)) for number in range(count)]
        probabilities = {
            name: (true_label_probabilities(model, forget), true_label_probabilities(model, self._test))
            for name, model in models.items()
        }
        return shadow_audit(
            pairs,
            true_label_confidence(predict(models["after"], forget), forget.labels),
            probabilities,
            confidence=self._context.config.audit.confidence,
        )

    def _stored_pair(self, number: int, count: int) -> Any:
        context = self._context
        title = f"shadow pair {number + 1} of {count}"

        def timed() -> dict[str, Any]:
            context.say(title)
            with context.run.timed("shadow"):
                return asdict(self._pair(number, title))

        return context.run.stored_or(f"shadow-{number}", timed)

    def _pair(self, number: int, title: str) -> ShadowPair:
        context, config = self._context, self._context.config
        new_labels: Any = context.new_labels  # not a tensor: the configuration has been checked
        unlearning = Unlearning(context)

        def train(images: ImageSet, seed: int) -> nn.Module:
            model = context.fresh(seed).to(device())
            settings = train_settings(context)
            train_classifier(model, images.images, images.labels, settings, seed=seed, description=title)
            return model

        def unlearn(model: nn.Module, forget: ImageSet, retained: ImageSet, seed: int) -> nn.Module:
            arguments = unlearning.arguments(config.method, config.goal, config.training, retained)
            instances = forget.pixels(device()), forget.labels.to(device())
            return unlearn_instances(model, instances, seed=seed, new_labels=new_labels, **arguments).model

        assert context.inputs.remaining is not None  # noqa: S101 - the configuration has been checked
        return shadow_pair(
            number,
            context.inputs.forget,
            context.inputs.remaining,
            self._test,
            train,
            unlearn,
            kept_share=config.audit.shadow_share,
            seed=config.seed,
        )
