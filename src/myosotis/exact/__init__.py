"""Classifiers on a frozen body whose heads are functions of sums: a record is taken out again to the bit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
