"""Erase text from a causal language model: losses, methods, FILA, trainer, memorisation, audit."""

from myosotis.unlearning.language.answers import (
    answer_metrics,
    extraction_strength,
    greedy_answers,
    perplexity,
    rouge_l_recall,
)
from myosotis.unlearning.language.audit import Audit, AuditSets, audit_model
from myosotis.unlearning.language.export import save_delta_adapter, save_merged
from myosotis.unlearning.language.fila import FilaFactors, apply_fila, fila_factors
from myosotis.unlearning.language.fisher import fisher_information, fisher_row_sums
from myosotis.unlearning.language.harness import evaluate_with_harness
from myosotis.unlearning.language.losses import (
    dpo_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    kl_divergence_loss,
    npo_loss,
    sequence_log_probs,
    simnpo_loss,
)
from myosotis.unlearning.language.membership_scores import membership_scores
from myosotis.unlearning.language.memorization import (
    Thresholds,
    calibrate_thresholds,
    extraction_likelihood,
    memorization,
    memorization_accuracy,
    memorization_by_n,
)
from myosotis.unlearning.language.methods import METHODS, Method, build_method
from myosotis.unlearning.language.methods.misdirection import squared_distance, steering_vector
from myosotis.unlearning.language.methods.primal_dual import logit_flattening_loss
from myosotis.unlearning.language.methods.projection import project_conflict
from myosotis.unlearning.language.methods.self_distillation import cross_entropy_unlearning_loss, undial_loss
from myosotis.unlearning.language.methods.weighted_ascent import saturation_importance_loss, weighted_ascent_loss
from myosotis.unlearning.language.muse import (
    knowledge_memorization,
    privacy_leakage,
    scalability,
    verbatim_memorization,
)
from myosotis.unlearning.language.selection import Selection
from myosotis.unlearning.language.sequential import came_back, unlearn_sequential
from myosotis.unlearning.language.stopping import StopRule
from myosotis.unlearning.language.stress import quantized, relearning_curve, reworded_examples
from myosotis.unlearning.language.tofu import aggregate_tofu_log, forget_quality, model_utility, tofu_log, truth_ratio
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
    "aggregate_tofu_log",
    "answer_metrics",
    "apply_fila",
    "audit_model",
    "build_method",
    "calibrate_thresholds",
    "came_back",
    "cross_entropy_unlearning_loss",
    "dpo_loss",
    "evaluate_with_harness",
    "extraction_likelihood",
    "extraction_strength",
    "fila_factors",
    "fisher_information",
    "fisher_row_sums",
    "forget_quality",
    "gradient_ascent_loss",
    "greedy_answers",
    "inverted_hinge_loss",
    "kl_divergence_loss",
    "knowledge_memorization",
    "logit_flattening_loss",
    "membership_scores",
    "memorization",
    "memorization_accuracy",
    "memorization_by_n",
    "model_utility",
    "npo_loss",
    "perplexity",
    "privacy_leakage",
    "project_conflict",
    "quantized",
    "relearning_curve",
    "reworded_examples",
    "rouge_l_recall",
    "saturation_importance_loss",
    "save_delta_adapter",
    "save_merged",
    "scalability",
    "sequence_log_probs",
    "simnpo_loss",
    "squared_distance",
    "steering_vector",
    "tofu_log",
    "truth_ratio",
    "undial_loss",
    "unlearn_sequential",
    "verbatim_memorization",
    "weighted_ascent_loss",
]
