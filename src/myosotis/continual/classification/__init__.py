"""Class-incremental learning of image classifiers."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.continual.classification.batches import Augmentation, ReplayBatches
    from myosotis.continual.classification.distillation import (
        pod_spatial,
        pod_vector,
        proportional_distillation,
        task_distillation,
    )
    from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
    from myosotis.continual.classification.methods import METHODS, build_learner
    from myosotis.continual.classification.norm import (
        ContinualNorm2d,
        Partition,
        TaskBalancedBatchNorm1d,
        TaskBalancedBatchNorm2d,
        TaskBalancedBatchNorm3d,
        convert_continual,
        convert_group,
        convert_task_balanced,
        revert_task_balanced,
        set_task_balance,
        task_balance,
    )
    from myosotis.continual.classification.probing import probe_run
    from myosotis.continual.classification.saved import (
        LearnerSpec,
        load_first_encoder,
        load_learner,
        make_learner,
        save_learner,
    )
    from myosotis.continual.classification.settings import TrainSettings
    from myosotis.continual.classification.training import Learned, learn_classes, predict
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "batches": "Augmentation ReplayBatches",
            "distillation": "pod_spatial pod_vector proportional_distillation task_distillation",
            "learner": "Batch Learner Stage TaskState",
            "methods": "METHODS build_learner",
            "norm": "ContinualNorm2d Partition TaskBalancedBatchNorm1d TaskBalancedBatchNorm2d "
            "TaskBalancedBatchNorm3d convert_continual convert_group convert_task_balanced "
            "revert_task_balanced set_task_balance task_balance",
            "probing": "probe_run",
            "saved": "LearnerSpec load_first_encoder load_learner make_learner save_learner",
            "settings": "TrainSettings",
            "training": "Learned learn_classes predict",
        },
    )

__all__ = [
    "METHODS",
    "Augmentation",
    "Batch",
    "ContinualNorm2d",
    "Learned",
    "Learner",
    "LearnerSpec",
    "Partition",
    "ReplayBatches",
    "Stage",
    "TaskBalancedBatchNorm1d",
    "TaskBalancedBatchNorm2d",
    "TaskBalancedBatchNorm3d",
    "TaskState",
    "TrainSettings",
    "build_learner",
    "convert_continual",
    "convert_group",
    "convert_task_balanced",
    "learn_classes",
    "load_first_encoder",
    "load_learner",
    "make_learner",
    "pod_spatial",
    "pod_vector",
    "predict",
    "probe_run",
    "proportional_distillation",
    "revert_task_balanced",
    "save_learner",
    "set_task_balance",
    "task_balance",
    "task_distillation",
]
