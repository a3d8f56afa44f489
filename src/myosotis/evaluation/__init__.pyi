from .calibration import calibration_error as calibration_error
from .cka import layer_cka as layer_cka, linear_cka as linear_cka
from .comparison import (
    Comparison as Comparison,
    SubjectsHurt as SubjectsHurt,
    WorstSubject as WorstSubject,
    compared as compared,
)
from .intervals import (
    Interval as Interval,
    change_interval as change_interval,
    clopper_pearson as clopper_pearson,
    difference_interval as difference_interval,
    mean_interval as mean_interval,
    ratio_interval as ratio_interval,
    student_change as student_change,
    student_difference as student_difference,
    student_interval as student_interval,
    t_interval as t_interval,
)
from .membership import membership_inference as membership_inference, roc_auc as roc_auc, tpr_at_fpr as tpr_at_fpr
from .overlap import Overlap as Overlap, feature_overlap as feature_overlap
from .probe import (
    Probe as Probe,
    balanced_indices as balanced_indices,
    knn_probe as knn_probe,
    linear_probe as linear_probe,
    share_indices as share_indices,
)
from .rank_test import RankTest as RankTest, paired_rank_test as paired_rank_test
from .representation import Encoding as Encoding, representation_report as representation_report
