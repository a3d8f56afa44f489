"""Erase text from a causal language model: losses, methods, FILA, trainer, memorisation, audit."""

import lazy_loader

from myosotis.engine.extras import require

# All modules below import what the extra brings.
require("language", "a job on a language model")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
