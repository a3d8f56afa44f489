"""How near the images to forget are to those that remain: their classes, near-duplicates, and features of the model."""

from collections import Counter

from torch import nn

from myosotis.data.images import ImageSet
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import device
from myosotis.evaluation.cka import layer_features
from myosotis.evaluation.overlap import feature_overlap
from myosotis.models.normalization import NormalizedClassifier
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.inputs import Inputs
from myosotis.unlearning.classifier.job.models import Models
from myosotis.unlearning.classifier.representations import main_layers

_MOST = 500  # sampled images of a side
_MAX_VALUES = 2**24  # of their pixels
_LISTED = 5
_SURE = 0.9


def overlap_lines(config: ClassifierUnlearningConfig, inputs: Inputs, models: Models) -> list[str]:
    """Return what ``check`` says about what is at risk. No image is named.

    Args:
        config: Configuration of the job.
        inputs: Images of the job.
        models: Models of the job, of which the base is looked at if it comes with weights.
    """
    remaining = inputs.remaining
    if not remaining:
        return ["overlap: the remaining training images are not given (data.train), so that what is at risk is unknown"]
    of_class = Counter(inputs.forget.labels.tolist())
    left = Counter(remaining.labels.tolist())
    counts = [
        f"{inputs.classes[label]} ({count:,}, and {left[label]:,} remain)"
        for label, count in of_class.most_common(_LISTED)
    ]
    more = "" if len(of_class) <= _LISTED else f" and {len(of_class) - _LISTED} further classes"
    lines = [f"at risk first are the classes with most images to forget: {', '.join(counts)}{more}"]
    if inputs.near:
        lines.append(
            f"  near-duplicates of an image to forget among the remaining ones: {inputs.near:,}; whatever is trained "
            "on them sees it again: should they be forgotten too?"
        )
    if config.train is not None:
        return [*lines, "overlap of features: not measured: the model is trained by the job"]
    return [*lines, *_feature_lines(config.seed, inputs.forget, remaining, models)]


def layer_below_head(network: nn.Module) -> str:
    """Return the name of the last main layer of a network before its head, the module that gives the logits.

    Args:
        network: A :class:`~myosotis.models.resnet.SmallResNet` or a model of timm, with or without a head.

    Raises:
        SettingsError: There is none.

    Example:
        >>> from myosotis.models.resnet import SmallResNet
        >>> layer_below_head(SmallResNet(1, 10, widths=(8, 16), blocks=(1, 1)))
        'stages.1'
    """
    head = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    every = main_layers(network, most=sum(1 for _ in network.modules()))
    layers = [name for name in every if head not in set(network.get_submodule(name).modules())]
    if not layers:
        raise SettingsError("the model has no layer below its head")
    return layers[-1]


def _feature_lines(seed: int, forget: ImageSet, remaining: ImageSet, models: Models) -> list[str]:
    most = max(2, min(_MOST, _MAX_VALUES // forget.images[0].numel()))
    sides = [images.subset(images.shuffled(seed, "overlap")[:most]) for images in (forget, remaining)]
    model = models.base.to(device())
    try:
        layer = f"{models.body}.{layer_below_head(model.get_submodule(models.body))}"
        # The network of a learner is never called itself.
        layers = [layer, *([models.body] if isinstance(model, NormalizedClassifier) else [])]
        outputs = [layer_features(model, images.pixels(device()), layers) for images in sides]
        overlap = feature_overlap(outputs[0][layer], outputs[1][layer])
    except SettingsError as error:
        return [f"overlap of features: not measured: {error}"]
    drawn = ""
    if len(sides[0]) < len(forget) or len(sides[1]) < len(remaining):
        drawn = f" (drawn by the seed: {len(sides[0]):,} of {len(forget):,}, {len(sides[1]):,} of {len(remaining):,})"
    lines = [f"overlap of features{drawn}: {overlap.sentence}"]
    neighbours = sides[1].labels[overlap.nearest]
    others = Counter(neighbours[neighbours != sides[0].labels].tolist()).most_common(_LISTED)
    if others:
        named = ", ".join(f"{forget.classes[label]} ({count:,})" for label, count in others)
        lines.append(f"  images to forget that are nearest to an image of another class: {named}")
    if models.body in layers:
        answers = outputs[1][models.body].softmax(dim=1).gather(1, sides[1].labels[:, None])[:, 0]
        lines.append(
            f"  {int((answers < _SURE).sum()):,} of {len(answers):,} remaining images are given less than {_SURE} for "
            "their class: where a method protects the rest by adversarial examples, such images lose first"
        )
    return lines
