from .attack import attack_success as attack_success, draw_targets as draw_targets, pgd_attack as pgd_attack
from .goals import (
    misclassify_loss as misclassify_loss,
    relabel_loss as relabel_loss,
    true_label_confidence as true_label_confidence,
    true_margin as true_margin,
)
from .importance import importance_penalty as importance_penalty, weight_importance as weight_importance
from .instance_result import InstanceResult as InstanceResult, UnlearnResult as UnlearnResult
from .methods import METHODS as METHODS, build_method as build_method
from .sequential import unlearn_sequence as unlearn_sequence
from .settings import PRESETS as PRESETS, Preset as Preset, UnlearnSettings as UnlearnSettings
from .stopping import StopRule as StopRule, reference_level as reference_level
from .unlearner import unlearn_instances as unlearn_instances
