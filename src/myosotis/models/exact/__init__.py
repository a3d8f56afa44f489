"""Classifiers on a frozen body whose heads are functions of sums: a record is taken out again to the bit."""

from myosotis.models.exact.body import check_learner
from myosotis.models.exact.classifier import Digests, ExactClassifier, ExactSpec, exact_features
from myosotis.models.exact.grid import GridOverflowError, to_grid
from myosotis.models.exact.heads import HEADS
from myosotis.models.exact.records import NotLearnedError, OtherFeaturesError

__all__ = [
    "HEADS",
    "Digests",
    "ExactClassifier",
    "ExactSpec",
    "GridOverflowError",
    "NotLearnedError",
    "OtherFeaturesError",
    "check_learner",
    "exact_features",
    "to_grid",
]
