"""Erase text from a causal language model: losses, methods, FILA, trainer, memorisation, audit."""

from myosotis.unlearning.language.answers import answer_metrics, greedy_answers, perplexity, rouge_l_recall
from myosotis.unlearning.language.audit import Audit, AuditSets, audit_model
from myosotis.unlearning.language.export import save_delta_adapter, save_merged
from myosotis.unlearning.language.fila import FilaFactors, apply_fila, fila_factors
from myosotis.unlearning.language.fisher import fisher_information, fisher_row_sums
from myosotis.unlearning.language.losses import (
    dpo_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    kl_divergence_loss,
    npo_loss,
    sequence_log_probs,
    simnpo_loss,
)
from myosotis.unlearning.language.memorization import (
    Thresholds,
    calibrate_thresholds,
    extraction_likelihood,
    memorization,
    memorization_accuracy,
)
from myosotis.unlearning.language.methods import METHODS, Method, build_method
from myosotis.unlearning.language.methods.misdirection import squared_distance, steering_vector
from myosotis.unlearning.language.methods.primal_dual import logit_flattening_loss
from myosotis.unlearning.language.methods.projection import project_conflict
from myosotis.unlearning.language.methods.self_distillation import cross_entropy_unlearning_loss, undial_loss
from myosotis.unlearning.language.methods.weighted_ascent import saturation_importance_loss, weighted_ascent_loss
from myosotis.unlearning.language.selection import Selection
from myosotis.unlearning.language.stopping import StopRule
from myosotis.unlearning.language.trainer import UnlearnTrainer
from myosotis.unlearning.language.trainer_config import UnlearnConfig

__all__ = [
    "METHODS",
    "Audit",
    "AuditSets",
    "FilaFactors",
    "Method",
    "Selection",
    "StopRule",
    "Thresholds",
    "UnlearnConfig",
    "UnlearnTrainer",
    "answer_metrics",
    "apply_fila",
    "audit_model",
    "build_method",
    "calibrate_thresholds",
    "cross_entropy_unlearning_loss",
    "dpo_loss",
    "extraction_likelihood",
    "fila_factors",
    "fisher_information",
    "fisher_row_sums",
    "gradient_ascent_loss",
    "greedy_answers",
    "inverted_hinge_loss",
    "kl_divergence_loss",
    "logit_flattening_loss",
    "memorization",
    "memorization_accuracy",
    "npo_loss",
    "perplexity",
    "project_conflict",
    "rouge_l_recall",
    "saturation_importance_loss",
    "save_delta_adapter",
    "save_merged",
    "sequence_log_probs",
    "simnpo_loss",
    "squared_distance",
    "steering_vector",
    "undial_loss",
    "weighted_ascent_loss",
]
