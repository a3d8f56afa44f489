"""The ledger: what happened to a model, line by line, signed, so that others can check it without its operator.

A ledger is a folder: ``log.intoto.jsonl``, one signed line for each thing that happened; ``head.json``, a signed Merkle
root over all lines; ``keys/``, public keys; ``VERIFY.md``, how to check all this with nothing but a hash function and a
signature. It proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that
no copy exists.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
