from .bases import BASES as BASES, Base as Base, build_base as build_base
from .batches import ViewBatches as ViewBatches
from .cassle import cassle_loss as cassle_loss
from .contrast import EmbeddingQueue as EmbeddingQueue, nce as nce
from .learner import SslBatch as SslBatch, SslLearner as SslLearner, SslTask as SslTask
from .losses import (
    negative_cosine as negative_cosine,
    pairwise_contrast as pairwise_contrast,
    redundancy_reduction as redundancy_reduction,
    variance_invariance_covariance as variance_invariance_covariance,
)
from .measuring import (
    ProbeSettings as ProbeSettings,
    Transfer as Transfer,
    stream_figures as stream_figures,
)
from .methods import METHODS as METHODS, build_learner as build_learner
from .momentum import MomentumCopy as MomentumCopy
from .network import SslNetwork as SslNetwork, encoder_width as encoder_width
from .past import PastModel as PastModel
from .pnr import (
    PNRTerms as PNRTerms,
    pnr_moco_loss as pnr_moco_loss,
    pnr_regulariser as pnr_regulariser,
    pnr_simclr_loss as pnr_simclr_loss,
)
from .result import Measured as Measured
from .saved import (
    SslSpec as SslSpec,
    load_ssl_learner as load_ssl_learner,
    make_ssl_learner as make_ssl_learner,
    save_ssl_learner as save_ssl_learner,
)
from .training import (
    SslOutcome as SslOutcome,
    SslSettings as SslSettings,
    learn_representations as learn_representations,
)
