"""Denoising of symbols that went through a noisy channel, with or without clean data of the same kind."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
