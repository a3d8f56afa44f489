from .adapters.export import save_delta_adapter as save_delta_adapter, save_merged as save_merged
from .adapters.fila import FilaFactors as FilaFactors, apply_fila as apply_fila, fila_factors as fila_factors
from .adapters.fisher import fisher_information as fisher_information, fisher_row_sums as fisher_row_sums
from .audit.answers import (
    answer_metrics as answer_metrics,
    extraction_strength as extraction_strength,
    greedy_answers as greedy_answers,
    perplexity as perplexity,
    rouge_l_recall as rouge_l_recall,
)
from .audit.audit import Audit as Audit, audit_model as audit_model
from .audit.harness import evaluate_with_harness as evaluate_with_harness
from .audit.membership import membership_scores as membership_scores
from .audit.memorization import (
    Thresholds as Thresholds,
    calibrate_thresholds as calibrate_thresholds,
    extraction_likelihood as extraction_likelihood,
    memorization as memorization,
    memorization_accuracy as memorization_accuracy,
    memorization_by_n as memorization_by_n,
)
from .audit.muse import (
    knowledge_memorization as knowledge_memorization,
    privacy_leakage as privacy_leakage,
    scalability as scalability,
    verbatim_memorization as verbatim_memorization,
)
from .audit.sets import AuditSets as AuditSets
from .audit.stress import (
    quantized as quantized,
    relearning_curve as relearning_curve,
    reworded_examples as reworded_examples,
)
from .audit.tofu import (
    aggregate_tofu_log as aggregate_tofu_log,
    forget_quality as forget_quality,
    model_utility as model_utility,
    tofu_log as tofu_log,
    truth_ratio as truth_ratio,
)
from .methods import METHODS as METHODS, Method as Method, build_method as build_method
from .methods.counterfactual import (
    counterfactual_loss as counterfactual_loss,
    stranger_distribution as stranger_distribution,
)
from .methods.cross_entropy_unlearning import cross_entropy_unlearning_loss as cross_entropy_unlearning_loss
from .methods.dpo import dpo_loss as dpo_loss
from .methods.gradient_ascent import gradient_ascent_loss as gradient_ascent_loss
from .methods.inverted_hinge import inverted_hinge_loss as inverted_hinge_loss
from .methods.misdirection import squared_distance as squared_distance, steering_vector as steering_vector
from .methods.npo import npo_loss as npo_loss
from .methods.primal_dual import logit_flattening_loss as logit_flattening_loss
from .methods.projection import project_conflict as project_conflict
from .methods.retain import kl_divergence_loss as kl_divergence_loss
from .methods.simnpo import simnpo_loss as simnpo_loss
from .methods.token_losses import sequence_log_probs as sequence_log_probs
from .methods.undial import undial_loss as undial_loss
from .methods.weighted_ascent import (
    saturation_importance_loss as saturation_importance_loss,
    weighted_ascent_loss as weighted_ascent_loss,
)
from .training.selection import Selection as Selection
from .training.sequential import came_back as came_back, unlearn_sequential as unlearn_sequential
from .training.stopping import StopRule as StopRule
from .training.trainer import UnlearnTrainer as UnlearnTrainer
from .training.trainer_config import UnlearnConfig as UnlearnConfig
