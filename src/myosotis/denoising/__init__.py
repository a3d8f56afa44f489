"""Denoising of symbols that went through a noisy channel, with or without clean data of the same kind."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.denoising.baselines import forward_backward, median
    from myosotis.denoising.channel import Channel, check_symbols, read_channel
    from myosotis.denoising.channel_estimation import ChannelEstimate, estimate_channel
    from myosotis.denoising.commands import DenoiseOptions, denoise_dna, denoise_image, denoise_symbols
    from myosotis.denoising.context_selection import select_context
    from myosotis.denoising.contexts import Context1d, Context2d
    from myosotis.denoising.counting import Denoised, dude, dude_in_context
    from myosotis.denoising.denoiser_file import load_denoiser, save_denoiser
    from myosotis.denoising.heads import HEADS
    from myosotis.denoising.mappings import hamming, loss_estimate
    from myosotis.denoising.methods import METHODS, DenoiseResult, denoise
    from myosotis.denoising.neural import NeuralDenoiser
    from myosotis.denoising.passes import Passes
    from myosotis.denoising.training_noise import blind
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "baselines": "forward_backward median",
            "channel": "Channel check_symbols read_channel",
            "channel_estimation": "ChannelEstimate estimate_channel",
            "commands": "DenoiseOptions denoise_dna denoise_image denoise_symbols",
            "context_selection": "select_context",
            "contexts": "Context1d Context2d",
            "counting": "Denoised dude dude_in_context",
            "heads": "HEADS",
            "mappings": "hamming loss_estimate",
            "methods": "METHODS DenoiseResult denoise",
            "denoiser_file": "load_denoiser save_denoiser",
            "neural": "NeuralDenoiser",
            "passes": "Passes",
            "training_noise": "blind",
        },
    )

__all__ = [
    "HEADS",
    "METHODS",
    "Channel",
    "ChannelEstimate",
    "Context1d",
    "Context2d",
    "DenoiseOptions",
    "DenoiseResult",
    "Denoised",
    "NeuralDenoiser",
    "Passes",
    "blind",
    "check_symbols",
    "denoise",
    "denoise_dna",
    "denoise_image",
    "denoise_symbols",
    "dude",
    "dude_in_context",
    "estimate_channel",
    "forward_backward",
    "hamming",
    "load_denoiser",
    "loss_estimate",
    "median",
    "read_channel",
    "save_denoiser",
    "select_context",
]
