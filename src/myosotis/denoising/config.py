"""The configuration of ``denoise-train``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from myosotis.denoising.heads import HeadName
from myosotis.denoising.passes import PRETRAIN, CleanPasses
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.engine.method import Fraction

Rate = Annotated[float, Field(ge=0, lt=1)]


class CleanDataConfig(Config):
    """Clean symbols of one kind: images, DNA or text.

    Attributes:
        images: Bilevel or grey image files, or folders of them.
        threshold: Grey value from which a pixel is white; Otsu's threshold unless given.
        dna: FASTA or FASTQ files.
        text: Text files.
        alphabet: Letters of the text files.
    """

    images: Annotated[tuple[LocalPath, ...], Field(min_length=1)] | None = None
    threshold: Annotated[int, Field(ge=0, le=255)] | None = None
    dna: Annotated[tuple[LocalPath, ...], Field(min_length=1)] | None = None
    text: Annotated[tuple[LocalPath, ...], Field(min_length=1)] | None = None
    alphabet: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "CleanDataConfig":
        given = [key for key in ("images", "dna", "text") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of 'images', 'dna' and 'text'")
        if self.threshold is not None and self.images is None:
            raise ValueError("'threshold' is for 'images' only")
        if (self.alphabet is None) != (self.text is None):
            raise ValueError("'alphabet' goes with 'text'")
        return self


class NoiseConfig(Config):
    """The noise of the training: a rate, a channel, or many rates for a denoiser of all of them.

    Attributes:
        rate: Probability that a symbol is replaced, by each other one alike.
        channel: File with a channel matrix.
        between: Smallest and largest rate; each sequence and pass draws its own.
    """

    rate: Rate | None = None
    channel: LocalPath | None = None
    between: tuple[Rate, Rate] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "NoiseConfig":
        if sum(value is not None for value in (self.rate, self.channel, self.between)) != 1:
            raise ValueError("give exactly one of 'rate', 'channel' and 'between'")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError("'between' takes two ascending rates")
        return self


class DenoiserConfig(Config):
    """The context of a symbol, and the network.

    Attributes:
        half_width: Symbols on each side of a context, along a line.
        neighbours: Symbols of a context, on a plane.
        head: Output of the network; chosen by the size of the alphabet unless given.
        hidden: Width of the hidden layers.
        layers: Number of hidden layers.
    """

    half_width: PositiveInt = 10
    neighbours: PositiveInt = 24
    head: HeadName | None = None
    hidden: PositiveInt = 64
    layers: PositiveInt = 4


class DenoiserTrainConfig(JobConfig):
    """One job: a denoiser that is trained with clean symbols, to be adapted to noisy ones later.

    Attributes:
        data: Clean symbols.
        noise: Noise of the training.
        model: Network, by its architecture.
        training: Training.
        held_out: Share of the sequences that are only measured on; of a single one, its end.
    """

    job: Literal["denoise-train"] = "denoise-train"
    data: CleanDataConfig
    noise: NoiseConfig
    model: DenoiserConfig = DenoiserConfig()
    training: CleanPasses = PRETRAIN
    held_out: Fraction = 0.1

    @model_validator(mode="after")
    def _belongs(self) -> "DenoiserTrainConfig":
        unused = "half_width" if self.data.images is not None else "neighbours"
        if getattr(self.model, unused) != DenoiserConfig.model_fields[unused].default:
            kind = "images" if unused == "half_width" else "symbols along a line"
            raise ValueError(f"'model.{unused}' has no effect on {kind}")
        return self
