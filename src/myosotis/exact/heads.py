"""The heads that are functions of sums, by their names."""

from typing import Any

from myosotis.engine.registry import Registry
from myosotis.exact.fecam import FeCAM
from myosotis.exact.head import SumsHead
from myosotis.exact.ranpac import RanPAC
from myosotis.exact.simplecil import SimpleCIL

HEADS: Registry[SumsHead[Any]] = Registry(SumsHead, (SimpleCIL, RanPAC, FeCAM), "head")
"""Every head by its name."""
