"""Make image classifiers forget single instances, and look at what is left."""

from myosotis.unlearning.classifier.attack import attack_success, draw_targets, pgd_attack
from myosotis.unlearning.classifier.goals import misclassify_loss, relabel_loss, true_label_confidence, true_margin
from myosotis.unlearning.classifier.importance import importance_penalty, weight_importance
from myosotis.unlearning.classifier.instance_result import InstanceResult, UnlearnResult
from myosotis.unlearning.classifier.methods import METHODS, build_method
from myosotis.unlearning.classifier.sequential import unlearn_sequence
from myosotis.unlearning.classifier.settings import PRESETS, Preset, UnlearnSettings
from myosotis.unlearning.classifier.stopping import StopRule, reference_level
from myosotis.unlearning.classifier.unlearner import unlearn_instances

__all__ = [
    "METHODS",
    "PRESETS",
    "InstanceResult",
    "Preset",
    "StopRule",
    "UnlearnResult",
    "UnlearnSettings",
    "attack_success",
    "build_method",
    "draw_targets",
    "importance_penalty",
    "misclassify_loss",
    "pgd_attack",
    "reference_level",
    "relabel_loss",
    "true_label_confidence",
    "true_margin",
    "unlearn_instances",
    "unlearn_sequence",
    "weight_importance",
]
