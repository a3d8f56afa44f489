from .learner import (
    SegmentationBatch as SegmentationBatch,
    SegmentationLearner as SegmentationLearner,
    SegmentationState as SegmentationState,
)
from .losses import (
    group_cross_entropy as group_cross_entropy,
    local_pod as local_pod,
    local_pod_distance as local_pod_distance,
    unbiased_distillation as unbiased_distillation,
)
from .memory import SegmentationMemory as SegmentationMemory
from .methods import METHODS as METHODS, build_learner as build_learner
from .metrics import (
    confusion as confusion,
    forgetting as forgetting,
    group_figures as group_figures,
    intersection_over_union as intersection_over_union,
)
from .network import GrowingHeads as GrowingHeads, SegmentationNet as SegmentationNet
from .partitions import Partition as Partition, make_partition as make_partition, partition as partition
from .pseudo_labels import normalised_entropy as normalised_entropy, pseudo_label as pseudo_label
from .reappearance import reappearance_report as reappearance_report
from .saved import (
    SegmentLearnerSpec as SegmentLearnerSpec,
    load_segment_learner as load_segment_learner,
    make_segment_learner as make_segment_learner,
    save_segment_learner as save_segment_learner,
)
from .scenario import (
    SegmentationStream as SegmentationStream,
    assign_images as assign_images,
    class_incremental_segmentation as class_incremental_segmentation,
    remap_table as remap_table,
)
from .settings import SegmentationSettings as SegmentationSettings
from .training import SegmentationOutcome as SegmentationOutcome, learn_segments as learn_segments
