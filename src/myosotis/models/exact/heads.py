"""The heads that are functions of sums, by their names."""

from typing import Any

from myosotis.engine.registry import Registry
from myosotis.models.exact.fecam import FeCAM
from myosotis.models.exact.head import SumsHead
from myosotis.models.exact.ranpac import RanPAC
from myosotis.models.exact.simplecil import SimpleCIL

HEADS: Registry[SumsHead[Any]] = Registry(SumsHead, (SimpleCIL, RanPAC, FeCAM), "head")
"""Every head by its name."""
