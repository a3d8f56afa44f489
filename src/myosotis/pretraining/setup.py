"""The network, the settings and the probes of a job, made from its configuration and checked together."""

from pathlib import Path

import torch

from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.processes import processes
from myosotis.models.image_classifier import ClassifierSpec, pretrained_statistics
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.encoder_probes import EncoderProbes, encoder_features
from myosotis.pretraining.finetuning import with_new_head
from myosotis.pretraining.image_sets import PretrainSets
from myosotis.pretraining.masked_model import MaskedModel
from myosotis.pretraining.model_directory import PretrainSpec, for_masking, load_weights, make_pretrained, read_spec
from myosotis.pretraining.training import PretrainSettings, PretrainTraining, check_ratio


def describe_pretrained(config: PretrainConfig, train: ImageSet) -> PretrainSpec:
    """Return the specification of the network of a job.

    Raises:
        InputError: The architecture is unknown.
    """
    model = config.model
    mean, std = model.mean, model.std
    if model.init_from is not None and mean is None:
        # Initial weights keep the normalisation that they were trained with.
        initial_spec = read_spec(Path(model.init_from))
        mean, std = initial_spec.encoder.mean, initial_spec.encoder.std
    if model.source is not False and mean is None and (statistics := pretrained_statistics(model.architecture)):
        mean, std = statistics
    if mean is None or std is None:
        mean, std = pixel_statistics(train)
    channels, height, width = (int(side) for side in train.images.shape[1:])
    if "in_chans" in model.options or "num_classes" in model.options:
        raise InputError("model.options: 'in_chans' and 'num_classes' follow from the images")
    plain = ClassifierSpec(model.architecture, 0, channels, mean, std, dict(model.options))
    return PretrainSpec(
        config.objective.name,
        config.objective.settings,
        config.masker.name,
        config.masker.settings,
        for_masking(plain, (height, width)),
        (height, width),
        config.seed,
    )


def pretrain_settings(config: PretrainConfig) -> PretrainSettings:
    """Return the settings of the pre-training of a job."""
    training = config.training.model_dump(include=set(PretrainTraining.model_fields))
    return PretrainSettings(**training, ratio=config.ratio, ratio_end=config.ratio_end)


def new_model(config: PretrainConfig, spec: PretrainSpec) -> MaskedModel:
    """Return the network of a job as it is before training.

    Raises:
        InputError: Something does not fit.
    """
    model = make_pretrained(spec, pretrained=config.model.source, recompute=config.training.gradient_checkpointing)
    if config.model.init_from is not None:
        load_weights(model, Path(config.model.init_from))
    return model


def new_probes(config: PretrainConfig, sets: PretrainSets, device: torch.device | str) -> EncoderProbes | None:
    """Return the probes of the encoder of a job, if it has any.

    Raises:
        InputError: The images do not suit it.
    """
    if config.probes is None or sets.labelled is None or sets.test is None:
        return None
    with settings_as_input("probes"):
        return EncoderProbes(
            sets.labelled,
            sets.test,
            samples=config.probes.samples,
            neighbours=config.probes.neighbours,
            cells=config.probes.cells,
            seed=config.seed,
            device=device,
        )


def check_pretraining(config: PretrainConfig, sets: PretrainSets, spec: PretrainSpec) -> None:
    """Raise ``InputError`` unless images, network, masker and training go together."""
    new_probes(config, sets, "cpu")
    model = new_model(config, spec).eval()
    settings, tokens = pretrain_settings(config), model.grid[0] * model.grid[1]
    for name, progress in (("ratio", 0), ("ratio_end", 1)):
        with settings_as_input(name):
            check_ratio(model.masker, tokens, settings.ratio_at(progress))
    if len(sets.train) < settings.batch_size:
        raise InputError(f"training.batch_size is {settings.batch_size}, more than the {len(sets.train)} images")
    if settings.batch_size % processes():
        raise InputError(
            f"training.batch_size is {settings.batch_size}; it is not a multiple of the {processes()} processes"
        )
    with torch.no_grad():
        try:
            features = model.encoder(model.normalize(torch.zeros(1, *sets.train.images.shape[1:])))
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"architecture '{spec.encoder.architecture}': {str(error).splitlines()[0]}") from None
    if features.ndim != 2:
        raise InputError(f"architecture '{spec.encoder.architecture}' does not return a vector of features")
    if config.probes is not None:
        with settings_as_input("probes.cells"):
            encoder_features(model, sets.train.images[:1], "cpu", cells=config.probes.cells)
    if config.finetune is not None:
        tuning = config.finetune
        if sets.labelled is None or len(sets.labelled) < tuning.batch_size:
            raise InputError(f"finetune.batch_size is {tuning.batch_size}, more than the labelled images")
        if tuning.batch_size % processes():
            raise InputError(
                f"finetune.batch_size is {tuning.batch_size}; it is not a multiple of the {processes()} processes"
            )
        classes = len(sets.labelled.classes)
        with_new_head(model.encoder, spec.encoder, classes, drop_path=tuning.drop_path, seed=config.seed)
