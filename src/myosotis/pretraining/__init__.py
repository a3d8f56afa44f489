"""Masked image modelling: what is hidden, and how a network learns to fill it in."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.pretraining.encoder_probes import EncoderProbes, encoder_features
    from myosotis.pretraining.finetuning import FinetuneSettings, finetune
    from myosotis.pretraining.mae import MaskedAutoencoder
    from myosotis.pretraining.masked_model import MaskedModel, Objective, Reconstruction
    from myosotis.pretraining.maskers import MASKERS, build_masker
    from myosotis.pretraining.maskers.attention import AttentionMasker
    from myosotis.pretraining.maskers.block import BlockMasker
    from myosotis.pretraining.maskers.grid import GridMasker
    from myosotis.pretraining.maskers.masker import Masker
    from myosotis.pretraining.maskers.predicted_loss import PredictedLossMasker
    from myosotis.pretraining.maskers.random import RandomMasker
    from myosotis.pretraining.maskers.salience import SalienceMasker
    from myosotis.pretraining.model_directory import PretrainSpec, load_pretrained, make_pretrained, save_pretrained
    from myosotis.pretraining.objectives import OBJECTIVES, build_model
    from myosotis.pretraining.patches import from_patches, normalized_patches, to_patches
    from myosotis.pretraining.salience import adaptive_ratio, received_affinity, token_salience
    from myosotis.pretraining.simmim import SimMIM
    from myosotis.pretraining.teacher import Teacher
    from myosotis.pretraining.token_mask import TokenMask, mask_from_hidden, mask_from_scores, visible_count
    from myosotis.pretraining.training import PretrainOutcome, PretrainSettings, pretrain
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "finetuning": "FinetuneSettings finetune",
            "mae": "MaskedAutoencoder",
            "masked_model": "MaskedModel Objective Reconstruction",
            "maskers": "MASKERS build_masker",
            "maskers.attention": "AttentionMasker",
            "maskers.block": "BlockMasker",
            "maskers.grid": "GridMasker",
            "maskers.masker": "Masker",
            "maskers.predicted_loss": "PredictedLossMasker",
            "maskers.random": "RandomMasker",
            "maskers.salience": "SalienceMasker",
            "encoder_probes": "EncoderProbes encoder_features",
            "objectives": "OBJECTIVES build_model",
            "patches": "from_patches normalized_patches to_patches",
            "salience": "adaptive_ratio received_affinity token_salience",
            "model_directory": "PretrainSpec load_pretrained make_pretrained save_pretrained",
            "simmim": "SimMIM",
            "teacher": "Teacher",
            "token_mask": "TokenMask mask_from_hidden mask_from_scores visible_count",
            "training": "PretrainOutcome PretrainSettings pretrain",
        },
    )

__all__ = [
    "MASKERS",
    "OBJECTIVES",
    "AttentionMasker",
    "BlockMasker",
    "EncoderProbes",
    "FinetuneSettings",
    "GridMasker",
    "MaskedAutoencoder",
    "MaskedModel",
    "Masker",
    "Objective",
    "PredictedLossMasker",
    "PretrainOutcome",
    "PretrainSettings",
    "PretrainSpec",
    "RandomMasker",
    "Reconstruction",
    "SalienceMasker",
    "SimMIM",
    "Teacher",
    "TokenMask",
    "adaptive_ratio",
    "build_masker",
    "build_model",
    "encoder_features",
    "finetune",
    "from_patches",
    "load_pretrained",
    "make_pretrained",
    "mask_from_hidden",
    "mask_from_scores",
    "normalized_patches",
    "pretrain",
    "received_affinity",
    "save_pretrained",
    "to_patches",
    "token_salience",
    "visible_count",
]
