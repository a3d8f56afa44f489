"""The configuration of ``unlearn-classifier``."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import Fraction, NamedConfig
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.methods import METHODS, build_method
from myosotis.unlearning.classifier.settings import PRESETS, UnlearnSettings
from myosotis.unlearning.classifier.training import TrainSettings
from myosotis.unlearning.classifier.verdict import VerdictSettings
from myosotis.unlearning.request import RequestConfig


class ModelConfig(Config):
    """The classifier that is to forget: a directory that was saved by a job, or an architecture.

    The weights of an architecture are learnt by ``train``, read from ``weights``, or fetched by timm.

    Attributes:
        path: Directory with ``classifier.json`` and ``model.safetensors``, as a job saves it.
        architecture: ``small-resnet``, or a name that timm knows.
        options: Further arguments of the architecture, e.g. ``{widths: [16, 32, 64]}`` of ``small-resnet``.
        weights: File with the weights of the architecture, safetensors or ``.pth``; names that differ are matched by
            order and shape.
        pretrained: Whether timm fetches its pre-trained weights.
        classes: Names of the classes in the order of the outputs; those of the training or test set unless given.
        mean: Mean pixel value of each channel, in [0, 1], that the weights were trained with; with ``std``.
        std: Standard deviation of each channel.
    """

    path: LocalPath | None = None
    architecture: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    weights: LocalPath | None = None
    pretrained: bool = False
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "ModelConfig":
        if (self.path is None) == (self.architecture is None):
            raise ValueError("give either 'path' or 'architecture'")
        others = [
            name for name in ("options", "weights", "pretrained", "classes", "mean", "std") if getattr(self, name)
        ]
        if self.path is not None and others:
            raise ValueError(f"'path' holds the whole description; leave out {', '.join(others)}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        twice = next((name for name in self.classes or () if (self.classes or ()).count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'classes' names '{twice}' twice")
        return self


class ForgetConfig(Config):
    """Which instances are to be forgotten: a folder of their own, names in the training set, or a draw from it.

    Attributes:
        list: File with the names of training images to forget, one per line; several files are requests that come one
            after another.
        folder: Folder of the images to forget, with a folder for each class.
        count: Number of training images to draw.
        size: Side in pixels that the images of ``folder`` are scaled to; that of the training or test set unless given.
    """

    list: LocalPath | Annotated[tuple[LocalPath, ...], Field(min_length=2)] | None = None
    folder: LocalPath | None = None
    count: PositiveInt | None = None
    size: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "ForgetConfig":
        if sum(value is not None for value in (self.list, self.folder, self.count)) != 1:
            raise ValueError("give exactly one of 'list', 'folder' and 'count'")
        if self.size is not None and self.folder is None:
            raise ValueError("'size' scales the images of 'folder'; those of a training set have its size")
        return self


class DataConfig(Config):
    """The images. Only ``forget`` is required; without ``train`` nothing is known of the remaining images.

    Attributes:
        forget: Images to forget.
        train: Training images of the model.
        test: Test images of the same classes.
        limit: Number of training images to draw, balanced over the classes; all unless given.
    """

    forget: ForgetConfig
    train: SourceConfig | None = None
    test: SourceConfig | None = None
    limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _together(self) -> "DataConfig":
        if self.train is None and self.forget.folder is None:
            raise ValueError("'forget.list' and 'forget.count' choose from the training set, but 'train' is missing")
        if self.limit is not None and self.train is None:
            raise ValueError("'limit' shortens 'train', which is missing")
        return self


class MethodConfig(NamedConfig):
    """A method: its name, and its settings beside it."""

    registry = METHODS

    name: str = "adv_imp"


class StopConfig(Config):
    """When unlearning ends: at the goal, or at the level of the reference, which keeps it from being over-forgotten.

    Attributes:
        at: ``goal``: stop when every instance meets the goal; ``reference``: when the accuracy on them is at most
            ``audit.margin`` of what it was above the reference's before.
        margin: Logits by which an instance must be beyond the decision boundary.
        every: Steps between checks.
    """

    at: Literal["goal", "reference"] = "goal"
    margin: NonNegativeFloat = 0.0
    every: PositiveInt = 1


class VariantConfig(Config):
    """Another method, for comparison: run from the same model on the same instances, with the same training.

    Attributes:
        method: Unlearning method.
        goal: Goal of the unlearning.
        training: Training of the method; the job's own unless given.
        name: Name in the report; goal and method unless given.
    """

    method: MethodConfig
    goal: Goal = "misclassify"
    training: UnlearnSettings | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> "VariantConfig":
        _check_goal(self.method, self.goal)
        return self

    @property
    def label(self) -> str:
        """Name in the report."""
        return self.name or f"{self.goal}, {self.method.name}"


class RelearningConfig(Config):
    """Training on a part of the forgotten instances, to see how fast the rest comes back.

    Attributes:
        share: Share of the forgotten instances that is trained on; the rest is measured.
        steps: Training steps.
        learning_rate: Learning rate.
    """

    share: Fraction = 0.5
    steps: PositiveInt = 20
    learning_rate: PositiveFloat = 1e-3


class AuditConfig(Config):
    """Measurements, and thresholds of the verdict.

    Attributes:
        samples: Most images of a set that are measured.
        held_retain: Share of the remaining training images that no method reads; the verdict ``kept`` rests on them.
        most_lost: Largest loss of accuracy that counts as kept. A class that is wholly lost is never kept.
        margin: Share of what had been learnt of the instances that may be left, or be missing: of what their accuracy,
            or the probability of their true class, was above that of a model that never saw them.
        confidence: Level of the confidence intervals, and of each end of the interval of a difference.
        bins: Bins of the calibration error.
        relearning: Relearning test; null leaves it out.
        copies: Whether changed copies of the instances (mirrored, shifted, brighter) are shown; the noisy ones that the
            verdict asks for are always measured.
        cka: Whether representations are compared with the model's before.
        shadow: Number of pairs of shadow models for U-LiRA and RMIA; 0 for none, else at least 3.
        shadow_share: Share of the training images that each shadow model learns.
    """

    samples: PositiveInt = 5000
    held_retain: Annotated[float, Field(ge=0, lt=1)] = 0.25
    most_lost: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    margin: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.95
    bins: PositiveInt = 15
    relearning: RelearningConfig | None = RelearningConfig()
    copies: bool = True
    cka: bool = True
    shadow: Annotated[int, Field(ge=0)] = 0
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 0.5

    @property
    def verdict(self) -> VerdictSettings:
        """What counts as forgotten and as kept."""
        return VerdictSettings(self.most_lost, self.margin, self.confidence)

    @model_validator(mode="after")
    def _enough_shadows(self) -> "AuditConfig":
        if self.shadow in (1, 2):
            raise ValueError("'shadow' must be 0 or at least 3: each shadow model is judged by two others")
        return self


class ClassifierUnlearningConfig(JobConfig):
    """One job: a classifier, the instances to forget, the method, and the audit.

    Attributes:
        model: Classifier.
        data: Images to forget and others.
        train: Training of a new model, for demonstrations and benchmarks; none for a model that comes with weights.
        reference: Model that never saw the forget instances: a directory, or ``retrain`` to train one.
        preset: Named method with matching settings; given settings override it.
        preset_changes: Settings that differ from the preset's; filled in by the job.
        goal: ``misclassify``: any other class; ``relabel``: a given new label.
        new_labels: New labels for ``relabel``: the model's ``runner_up``, ``random`` ones, or a file.
        method: Unlearning method.
        training: Training of the method.
        stop: End of the unlearning.
        requests: Number of requests that the forget set is split into.
        replay: Whether earlier requests are unlearned again with each later one.
        compare: Further methods from the same model on the same instances.
        audit: Measurements, and thresholds of the verdict.
        request: Description of the deletion request.
        keep_original: Whether the models before unlearning and the reference stay in the run.
    """

    job: Literal["unlearn-classifier"] = "unlearn-classifier"
    model: ModelConfig
    data: DataConfig
    train: TrainSettings | None = None
    reference: Annotated[Literal["retrain"] | LocalPath | None, Field(union_mode="left_to_right")] = None
    preset: str | None = None
    preset_changes: tuple[str, ...] = ()
    goal: Goal = "misclassify"
    new_labels: Annotated[Literal["runner_up", "random"] | LocalPath, Field(union_mode="left_to_right")] = "runner_up"
    method: MethodConfig = Field(default_factory=lambda: MethodConfig(name="adv_imp"))
    training: UnlearnSettings = UnlearnSettings()
    stop: StopConfig = StopConfig()
    requests: Annotated[int, Field(ge=2)] | None = None
    replay: bool = False
    compare: tuple[VariantConfig, ...] = ()
    audit: AuditConfig = AuditConfig()
    request: RequestConfig = RequestConfig()
    keep_original: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        """Write a preset out, overridden by the given settings, so that the configuration of a run is complete.

        ``preset_changes`` lists the settings that differ from the preset's.
        """
        if not isinstance(values, dict):
            return values
        name = values.get("preset")
        if name is None:
            return {**values, "preset_changes": ()}
        if name not in PRESETS:
            raise ValueError(f"unknown preset '{name}'; known: {', '.join(PRESETS)}")
        preset = PRESETS[name]
        method = values.get("method")
        if isinstance(method, dict) and method.get("name", preset.method) != preset.method:
            raise ValueError(f"'preset: {name}' sets the method '{preset.method}'; leave out 'preset' or 'method.name'")
        brought = {
            "goal": preset.goal,
            "method": {"name": preset.method, **vars(build_method(preset.method, preset.method_settings))},
            "training": preset.settings.model_dump(),
        }
        merged = {key: _laid_over(value, values.get(key)) for key, value in brought.items()}
        return {**values, **merged, "preset_changes": tuple(_differences(brought, merged))}

    @model_validator(mode="after")
    def _fits_together(self) -> "ClassifierUnlearningConfig":
        _check_goal(self.method, self.goal)
        self.check_model()
        if self.reference == "retrain" and self.train is None:
            raise ValueError("'reference: retrain' needs 'train', which says how the model was trained")
        if self.stop.at == "reference" and self.reference is None:
            raise ValueError("'stop.at: reference' needs a 'reference'")
        if self.audit.shadow:
            self.check_shadow()
        if self.requests is not None and isinstance(self.data.forget.list, tuple):
            raise ValueError("several lists are already requests; leave out 'requests'")
        if self.in_sequence and (self.compare or self.stop.at != "goal"):
            raise ValueError("several requests exclude 'compare' and 'stop.at: reference'")
        from_file = self.new_labels not in ("runner_up", "random")
        goals = {self.goal, *(variant.goal for variant in self.compare)}
        if self.new_labels != "runner_up" and "relabel" not in goals:
            raise ValueError("'new_labels' has no effect: neither 'goal' nor an entry of 'compare' is 'relabel'")
        if from_file and self.in_sequence:
            raise ValueError("'new_labels' from a file cannot be shared among 'requests'")
        if self.replay and not self.in_sequence:
            raise ValueError("'replay' repeats earlier 'requests', which are missing")
        if self.requests is not None and self.data.forget.count is not None and self.requests > self.data.forget.count:
            raise ValueError("more 'requests' than instances to forget")
        needs = [self.method, *(variant.method for variant in self.compare)]
        for method in needs:
            if build_method(method.name, method.settings).reads_retain and self.data.train is None:
                raise ValueError(f"method '{method.name}' reads retained samples, but 'data.train' is missing")
        labels = [variant.label for variant in self.compare]
        if len(set(labels)) != len(labels):
            raise ValueError("two entries of 'compare' have the same name; give each a 'name'")
        return self

    def check_model(self) -> None:
        """Raise ``ValueError`` unless the model has weights, and settings of its training go with it."""
        if self.train is not None and (self.model.path is not None or self.model.weights is not None):
            raise ValueError("'train' teaches a new model; with 'model.path' or 'model.weights' leave it out")
        if self.train is not None and self.data.train is None:
            raise ValueError("'train' needs 'data.train'")
        trained = self.train is not None or self.model.path or self.model.weights or self.model.pretrained
        if not trained:
            raise ValueError("the model has no weights: give 'train', 'model.path', 'model.weights' or 'pretrained'")
        if self.model.architecture is not None and self.train is None and self.model.mean is None:
            raise ValueError(
                "'model.mean' and 'model.std' are missing: the normalisation that these weights were trained with"
            )

    @property
    def in_sequence(self) -> bool:
        """Whether there are several requests, one after another."""
        return self.requests is not None or isinstance(self.data.forget.list, tuple)

    def check_shadow(self) -> None:
        """Raise ``SettingsError`` unless shadow models can repeat this job."""
        if self.train is None or self.data.test is None:
            raise SettingsError("shadow models need 'train', which says how they learn, and 'data.test'")
        if self.stop.at != "goal":
            raise SettingsError("shadow models need 'stop.at: goal': none of them has a reference to stop at")
        if self.in_sequence:
            raise SettingsError("shadow models unlearn all instances at once, so they cannot repeat several requests")
        if self.new_labels not in ("runner_up", "random"):
            raise SettingsError("shadow models choose their own new labels: use 'new_labels: runner_up' or 'random'")


def _check_goal(method: MethodConfig, goal: Goal) -> None:
    able = build_method(method.name, method.settings).goals
    if goal not in able:
        raise ValueError(f"method '{method.name}' does not support the goal '{goal}'; supported: {', '.join(able)}")


def _laid_over(brought: Any, given: Any) -> Any:
    """Values of a preset, overridden by the given ones."""
    if isinstance(brought, dict) and isinstance(given, dict):
        return {**brought, **given}
    return brought if given is None else given


def _differences(brought: dict[str, Any], merged: dict[str, Any]) -> Iterator[str]:
    """Dotted keys of the settings that differ from the preset."""
    for key, value in merged.items():
        old = brought.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from (f"{key}.{name}" for name, inner in value.items() if name not in old or inner != old[name])
        elif value != old:
            yield key
