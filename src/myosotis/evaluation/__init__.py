"""Measures that several kinds of jobs share."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.evaluation.calibration import calibration_error
    from myosotis.evaluation.cka import layer_cka, linear_cka
    from myosotis.evaluation.comparison import Comparison, SubjectsHurt, WorstSubject, compared
    from myosotis.evaluation.intervals import (
        Interval,
        change_interval,
        clopper_pearson,
        difference_interval,
        mean_interval,
        ratio_interval,
        student_change,
        student_difference,
        student_interval,
        t_interval,
    )
    from myosotis.evaluation.membership import membership_inference, roc_auc, tpr_at_fpr
    from myosotis.evaluation.overlap import Overlap, feature_overlap
    from myosotis.evaluation.probe import Probe, balanced_indices, knn_probe, linear_probe, share_indices
    from myosotis.evaluation.rank_test import RankTest, paired_rank_test
    from myosotis.evaluation.representation import Encoding, representation_report
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "calibration": "calibration_error",
            "cka": "layer_cka linear_cka",
            "comparison": "Comparison SubjectsHurt WorstSubject compared",
            "intervals": "Interval change_interval clopper_pearson difference_interval mean_interval "
            "ratio_interval student_change student_difference student_interval t_interval",
            "membership": "membership_inference roc_auc tpr_at_fpr",
            "overlap": "Overlap feature_overlap",
            "rank_test": "RankTest paired_rank_test",
            "probe": "Probe balanced_indices knn_probe linear_probe share_indices",
            "representation": "Encoding representation_report",
        },
    )

__all__ = [
    "Comparison",
    "Encoding",
    "Interval",
    "Overlap",
    "Probe",
    "RankTest",
    "SubjectsHurt",
    "WorstSubject",
    "balanced_indices",
    "calibration_error",
    "change_interval",
    "clopper_pearson",
    "compared",
    "difference_interval",
    "feature_overlap",
    "knn_probe",
    "layer_cka",
    "linear_cka",
    "linear_probe",
    "mean_interval",
    "membership_inference",
    "paired_rank_test",
    "ratio_interval",
    "representation_report",
    "roc_auc",
    "share_indices",
    "student_change",
    "student_difference",
    "student_interval",
    "t_interval",
    "tpr_at_fpr",
]
