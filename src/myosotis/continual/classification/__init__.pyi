from .batches import Augmentation as Augmentation, ReplayBatches as ReplayBatches
from .distillation import (
    pod_spatial as pod_spatial,
    pod_vector as pod_vector,
    proportional_distillation as proportional_distillation,
    task_distillation as task_distillation,
)
from .learner import Batch as Batch, Learner as Learner, Stage as Stage, TaskState as TaskState
from .methods import METHODS as METHODS, build_learner as build_learner
from .norm import (
    ContinualNorm2d as ContinualNorm2d,
    Partition as Partition,
    TaskBalancedBatchNorm1d as TaskBalancedBatchNorm1d,
    TaskBalancedBatchNorm2d as TaskBalancedBatchNorm2d,
    TaskBalancedBatchNorm3d as TaskBalancedBatchNorm3d,
    convert_continual as convert_continual,
    convert_group as convert_group,
    convert_task_balanced as convert_task_balanced,
    revert_task_balanced as revert_task_balanced,
    set_task_balance as set_task_balance,
    task_balance as task_balance,
)
from .probing import probe_run as probe_run
from .saved import (
    LearnerSpec as LearnerSpec,
    load_first_encoder as load_first_encoder,
    load_learner as load_learner,
    make_learner as make_learner,
    save_learner as save_learner,
)
from .settings import TrainSettings as TrainSettings
from .training import Learned as Learned, learn_classes as learn_classes, predict as predict
