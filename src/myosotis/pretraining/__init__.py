"""Masked image modelling: what is hidden, and how a network learns to fill it in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
