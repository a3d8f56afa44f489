from .body import check_learner as check_learner
from .classifier import (
    Digests as Digests,
    ExactClassifier as ExactClassifier,
    ExactSpec as ExactSpec,
    exact_features as exact_features,
)
from .grid import GridOverflowError as GridOverflowError, to_grid as to_grid
from .heads import HEADS as HEADS
from .records import NotLearnedError as NotLearnedError, OtherFeaturesError as OtherFeaturesError
