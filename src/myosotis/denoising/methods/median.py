"""The median filter."""

from dataclasses import dataclass

from myosotis.denoising.baselines import median
from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput, NoisyData
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class MedianFilter(DenoisingMethod):
    """The median of the bits around each bit."""

    card = MethodCard(
        "median",
        "Median filter",
        "-",
        "noisy symbols",
        "nothing",
        "The reference for bits that resemble their neighbours.",
    )
    has_context = False

    def denoise(self, data: NoisyData) -> MethodOutput:
        if data.channel.outputs > 2:
            raise SettingsError("a median needs bits; these symbols have no order")
        return MethodOutput(median(data.noisy), None)
