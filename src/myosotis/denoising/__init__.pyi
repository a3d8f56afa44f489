from .baselines import forward_backward as forward_backward, median as median
from .channel import Channel as Channel, check_symbols as check_symbols, read_channel as read_channel
from .channel_estimation import ChannelEstimate as ChannelEstimate, estimate_channel as estimate_channel
from .commands import (
    DenoiseOptions as DenoiseOptions,
    denoise_dna as denoise_dna,
    denoise_image as denoise_image,
    denoise_symbols as denoise_symbols,
)
from .context_selection import select_context as select_context
from .contexts import Context1d as Context1d, Context2d as Context2d
from .counting import Denoised as Denoised, dude as dude, dude_in_context as dude_in_context
from .denoiser_file import load_denoiser as load_denoiser, save_denoiser as save_denoiser
from .heads import HEADS as HEADS
from .mappings import hamming as hamming, loss_estimate as loss_estimate
from .methods import METHODS as METHODS, DenoiseResult as DenoiseResult, denoise as denoise
from .neural import NeuralDenoiser as NeuralDenoiser
from .passes import Passes as Passes
from .training_noise import blind as blind
