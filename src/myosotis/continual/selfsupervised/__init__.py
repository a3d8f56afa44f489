"""Continual self-supervised learning."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.continual.selfsupervised.bases import BASES, Base, build_base
    from myosotis.continual.selfsupervised.batches import ViewBatches
    from myosotis.continual.selfsupervised.cassle import cassle_loss
    from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, nce
    from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, SslTask
    from myosotis.continual.selfsupervised.losses import (
        negative_cosine,
        pairwise_contrast,
        redundancy_reduction,
        variance_invariance_covariance,
    )
    from myosotis.continual.selfsupervised.measuring import Measured, ProbeSettings, Transfer, stream_figures
    from myosotis.continual.selfsupervised.methods import METHODS, build_learner
    from myosotis.continual.selfsupervised.momentum import MomentumCopy
    from myosotis.continual.selfsupervised.network import SslNetwork, encoder_width
    from myosotis.continual.selfsupervised.past import PastModel
    from myosotis.continual.selfsupervised.pnr import PNRTerms, pnr_moco_loss, pnr_regulariser, pnr_simclr_loss
    from myosotis.continual.selfsupervised.saved import SslSpec, load_ssl_learner, make_ssl_learner, save_ssl_learner
    from myosotis.continual.selfsupervised.training import SslOutcome, SslSettings, learn_representations
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "bases": "BASES Base build_base",
            "batches": "ViewBatches",
            "cassle": "cassle_loss",
            "contrast": "EmbeddingQueue nce",
            "learner": "SslBatch SslLearner SslTask",
            "losses": "negative_cosine pairwise_contrast redundancy_reduction variance_invariance_covariance",
            "measuring": "Measured ProbeSettings Transfer stream_figures",
            "methods": "METHODS build_learner",
            "momentum": "MomentumCopy",
            "network": "SslNetwork encoder_width",
            "past": "PastModel",
            "pnr": "PNRTerms pnr_moco_loss pnr_regulariser pnr_simclr_loss",
            "saved": "SslSpec load_ssl_learner make_ssl_learner save_ssl_learner",
            "training": "SslOutcome SslSettings learn_representations",
        },
    )

__all__ = [
    "BASES",
    "METHODS",
    "Base",
    "EmbeddingQueue",
    "Measured",
    "MomentumCopy",
    "PNRTerms",
    "PastModel",
    "ProbeSettings",
    "SslBatch",
    "SslLearner",
    "SslNetwork",
    "SslOutcome",
    "SslSettings",
    "SslSpec",
    "SslTask",
    "Transfer",
    "ViewBatches",
    "build_base",
    "build_learner",
    "cassle_loss",
    "encoder_width",
    "learn_representations",
    "load_ssl_learner",
    "make_ssl_learner",
    "nce",
    "negative_cosine",
    "pairwise_contrast",
    "pnr_moco_loss",
    "pnr_regulariser",
    "pnr_simclr_loss",
    "redundancy_reduction",
    "save_ssl_learner",
    "stream_figures",
    "variance_invariance_covariance",
]
