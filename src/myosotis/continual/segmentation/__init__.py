"""Class-incremental semantic segmentation."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
    from myosotis.continual.segmentation.losses import (
        group_cross_entropy,
        local_pod,
        local_pod_distance,
        unbiased_distillation,
    )
    from myosotis.continual.segmentation.memory import SegmentationMemory
    from myosotis.continual.segmentation.methods import METHODS, build_learner
    from myosotis.continual.segmentation.metrics import confusion, forgetting, group_figures, intersection_over_union
    from myosotis.continual.segmentation.network import GrowingHeads, SegmentationNet
    from myosotis.continual.segmentation.partitions import Partition, make_partition, partition
    from myosotis.continual.segmentation.pseudo_labels import normalised_entropy, pseudo_label
    from myosotis.continual.segmentation.reappearance import reappearance_report
    from myosotis.continual.segmentation.saved import (
        SegmentLearnerSpec,
        load_segment_learner,
        make_segment_learner,
        save_segment_learner,
    )
    from myosotis.continual.segmentation.scenario import (
        SegmentationStream,
        assign_images,
        class_incremental_segmentation,
        remap_table,
    )
    from myosotis.continual.segmentation.settings import SegmentationSettings
    from myosotis.continual.segmentation.training import SegmentationOutcome, learn_segments
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "learner": "SegmentationBatch SegmentationLearner SegmentationState",
            "losses": "group_cross_entropy local_pod local_pod_distance unbiased_distillation",
            "memory": "SegmentationMemory",
            "methods": "METHODS build_learner",
            "metrics": "confusion forgetting group_figures intersection_over_union",
            "network": "GrowingHeads SegmentationNet",
            "pseudo_labels": "normalised_entropy pseudo_label",
            "saved": "SegmentLearnerSpec load_segment_learner make_segment_learner save_segment_learner",
            "partitions": "Partition make_partition partition",
            "reappearance": "reappearance_report",
            "scenario": "SegmentationStream assign_images class_incremental_segmentation remap_table",
            "settings": "SegmentationSettings",
            "training": "SegmentationOutcome learn_segments",
        },
    )

__all__ = [
    "METHODS",
    "GrowingHeads",
    "Partition",
    "SegmentLearnerSpec",
    "SegmentationBatch",
    "SegmentationLearner",
    "SegmentationMemory",
    "SegmentationNet",
    "SegmentationOutcome",
    "SegmentationSettings",
    "SegmentationState",
    "SegmentationStream",
    "assign_images",
    "build_learner",
    "class_incremental_segmentation",
    "confusion",
    "forgetting",
    "group_cross_entropy",
    "group_figures",
    "intersection_over_union",
    "learn_segments",
    "load_segment_learner",
    "local_pod",
    "local_pod_distance",
    "make_partition",
    "make_segment_learner",
    "normalised_entropy",
    "partition",
    "pseudo_label",
    "reappearance_report",
    "remap_table",
    "save_segment_learner",
    "unbiased_distillation",
]
