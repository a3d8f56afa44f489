"""The noisy symbols as they are."""

from dataclasses import dataclass

from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput, NoisyData
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class AsSeen(DenoisingMethod):
    """Leave every symbol as it is."""

    card = MethodCard("as_seen", "As seen", "-", "nothing", "nothing", "The reference: the noisy input itself.")
    has_context = False

    def denoise(self, data: NoisyData) -> MethodOutput:
        return MethodOutput(data.noisy.copy(), data.loss_as_seen(), standard_error=0.0)
