"""Erase text from a causal language model: losses, methods, FILA, trainer, memorisation, audit."""

from typing import TYPE_CHECKING

from myosotis.engine.extras import require
from myosotis.lazy import lazy_exports

# All modules below import what the extra brings.
require("language", "unlearning of language models")

if TYPE_CHECKING:
    from myosotis.unlearning.language.adapters.export import save_delta_adapter, save_merged
    from myosotis.unlearning.language.adapters.fila import FilaFactors, apply_fila, fila_factors
    from myosotis.unlearning.language.adapters.fisher import fisher_information, fisher_row_sums
    from myosotis.unlearning.language.audit.answers import (
        answer_metrics,
        extraction_strength,
        greedy_answers,
        perplexity,
        rouge_l_recall,
    )
    from myosotis.unlearning.language.audit.audit import Audit, AuditSets, audit_model
    from myosotis.unlearning.language.audit.harness import evaluate_with_harness
    from myosotis.unlearning.language.audit.membership import membership_scores
    from myosotis.unlearning.language.audit.memorization import (
        Thresholds,
        calibrate_thresholds,
        extraction_likelihood,
        memorization,
        memorization_accuracy,
        memorization_by_n,
    )
    from myosotis.unlearning.language.audit.muse import (
        knowledge_memorization,
        privacy_leakage,
        scalability,
        verbatim_memorization,
    )
    from myosotis.unlearning.language.audit.stress import quantized, relearning_curve, reworded_examples
    from myosotis.unlearning.language.audit.tofu import (
        aggregate_tofu_log,
        forget_quality,
        model_utility,
        tofu_log,
        truth_ratio,
    )
    from myosotis.unlearning.language.methods import METHODS, Method, build_method
    from myosotis.unlearning.language.methods.counterfactual import counterfactual_loss, stranger_distribution
    from myosotis.unlearning.language.methods.cross_entropy_unlearning import cross_entropy_unlearning_loss
    from myosotis.unlearning.language.methods.dpo import dpo_loss
    from myosotis.unlearning.language.methods.gradient_ascent import gradient_ascent_loss
    from myosotis.unlearning.language.methods.inverted_hinge import inverted_hinge_loss
    from myosotis.unlearning.language.methods.misdirection import squared_distance, steering_vector
    from myosotis.unlearning.language.methods.npo import npo_loss
    from myosotis.unlearning.language.methods.primal_dual import logit_flattening_loss
    from myosotis.unlearning.language.methods.projection import project_conflict
    from myosotis.unlearning.language.methods.retain import kl_divergence_loss
    from myosotis.unlearning.language.methods.simnpo import simnpo_loss
    from myosotis.unlearning.language.methods.token_losses import sequence_log_probs
    from myosotis.unlearning.language.methods.undial import undial_loss
    from myosotis.unlearning.language.methods.weighted_ascent import saturation_importance_loss, weighted_ascent_loss
    from myosotis.unlearning.language.training.selection import Selection
    from myosotis.unlearning.language.training.sequential import came_back, unlearn_sequential
    from myosotis.unlearning.language.training.stopping import StopRule
    from myosotis.unlearning.language.training.trainer import UnlearnTrainer
    from myosotis.unlearning.language.training.trainer_config import UnlearnConfig
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "adapters.export": "save_delta_adapter save_merged",
            "adapters.fila": "FilaFactors apply_fila fila_factors",
            "adapters.fisher": "fisher_information fisher_row_sums",
            "audit.answers": "answer_metrics extraction_strength greedy_answers perplexity rouge_l_recall",
            "audit.audit": "Audit AuditSets audit_model",
            "audit.harness": "evaluate_with_harness",
            "audit.membership": "membership_scores",
            "audit.memorization": "Thresholds calibrate_thresholds extraction_likelihood memorization "
            "memorization_accuracy memorization_by_n",
            "audit.muse": "knowledge_memorization privacy_leakage scalability verbatim_memorization",
            "audit.stress": "quantized relearning_curve reworded_examples",
            "audit.tofu": "aggregate_tofu_log forget_quality model_utility tofu_log truth_ratio",
            "methods": "METHODS Method build_method",
            "methods.counterfactual": "counterfactual_loss stranger_distribution",
            "methods.cross_entropy_unlearning": "cross_entropy_unlearning_loss",
            "methods.dpo": "dpo_loss",
            "methods.gradient_ascent": "gradient_ascent_loss",
            "methods.inverted_hinge": "inverted_hinge_loss",
            "methods.misdirection": "squared_distance steering_vector",
            "methods.npo": "npo_loss",
            "methods.primal_dual": "logit_flattening_loss",
            "methods.projection": "project_conflict",
            "methods.retain": "kl_divergence_loss",
            "methods.simnpo": "simnpo_loss",
            "methods.token_losses": "sequence_log_probs",
            "methods.undial": "undial_loss",
            "methods.weighted_ascent": "saturation_importance_loss weighted_ascent_loss",
            "training.selection": "Selection",
            "training.sequential": "came_back unlearn_sequential",
            "training.stopping": "StopRule",
            "training.trainer": "UnlearnTrainer",
            "training.trainer_config": "UnlearnConfig",
        },
    )

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
    "counterfactual_loss",
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
    "stranger_distribution",
    "tofu_log",
    "truth_ratio",
    "undial_loss",
    "unlearn_sequential",
    "verbatim_memorization",
    "weighted_ascent_loss",
]
