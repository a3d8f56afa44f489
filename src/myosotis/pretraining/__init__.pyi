from .encoder_probes import EncoderProbes as EncoderProbes, encoder_features as encoder_features
from .finetuning import FinetuneSettings as FinetuneSettings, finetune as finetune
from .mae import MaskedAutoencoder as MaskedAutoencoder
from .masked_model import MaskedModel as MaskedModel, Objective as Objective, Reconstruction as Reconstruction
from .maskers import MASKERS as MASKERS, build_masker as build_masker
from .maskers.attention import AttentionMasker as AttentionMasker
from .maskers.block import BlockMasker as BlockMasker
from .maskers.grid import GridMasker as GridMasker
from .maskers.masker import Masker as Masker
from .maskers.predicted_loss import PredictedLossMasker as PredictedLossMasker
from .maskers.random import RandomMasker as RandomMasker
from .maskers.salience import SalienceMasker as SalienceMasker
from .model_directory import (
    PretrainSpec as PretrainSpec,
    load_pretrained as load_pretrained,
    make_pretrained as make_pretrained,
    save_pretrained as save_pretrained,
)
from .objectives import OBJECTIVES as OBJECTIVES, build_model as build_model
from .patches import from_patches as from_patches, normalized_patches as normalized_patches, to_patches as to_patches
from .salience import (
    adaptive_ratio as adaptive_ratio,
    received_affinity as received_affinity,
    token_salience as token_salience,
)
from .simmim import SimMIM as SimMIM
from .teacher import Teacher as Teacher
from .token_mask import (
    TokenMask as TokenMask,
    mask_from_hidden as mask_from_hidden,
    mask_from_scores as mask_from_scores,
    visible_count as visible_count,
)
from .training import PretrainOutcome as PretrainOutcome, PretrainSettings as PretrainSettings, pretrain as pretrain
