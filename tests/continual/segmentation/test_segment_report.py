"""Sentences of the report on segmentation."""

from myosotis.continual.segmentation.report import _hardly_found


def test_classes_that_a_mean_hides_are_named():
    assert _hardly_found(list("abcdefgh"), [0.5, None, *[0.0] * 6]) == (
        " 6 of 8 classes are hardly found, with an IoU below 0.05: 'c', 'd', 'e', 'f', 'g' and others."
    )
    assert _hardly_found(["a"], [0.05]) == ""
