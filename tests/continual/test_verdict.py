"""Verdicts on streams of classes."""

from myosotis.continual.verdict import classes_verdict, earlier_tasks, majority


def confusion(right, wrong, classes=4):
    return [[right if row == column else wrong for column in range(classes)] for row in range(classes)]


def test_a_run_at_chance_has_not_learnt():
    verdict = classes_verdict(confusion(25, 25), [[0.5], [0.25, 0.25]], [200, 200], [2, 2], 0.95)
    assert verdict.learnt is False
    assert verdict.kept is None


def test_a_run_that_forgets_has_learnt_and_not_kept():
    table = [[0, 0, 100, 0], [0, 0, 0, 100], [0, 0, 100, 0], [0, 0, 0, 100]]
    verdict = classes_verdict(table, [[1.0], [0.0, 1.0]], [200, 200], [2, 2], 0.95)
    assert (verdict.learnt, verdict.kept) == (True, False)


def test_a_run_that_keeps():
    verdict = classes_verdict(confusion(97, 1), [[0.97], [0.97, 0.97]], [2000, 2000], [2, 2], 0.95)
    assert (verdict.learnt, verdict.kept) == (True, True)


def test_predicting_the_majority_class_is_not_learning():
    table = [[90, 0], [10, 0]]
    assert majority(table) == 0.9
    assert classes_verdict(table, [[0.9]], [100], [2], 0.95).learnt is False


def test_what_was_never_learnt_has_no_answer_about_keeping():
    table = [[50, 50, 0, 0], [50, 50, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100]]
    verdict = classes_verdict(table, [[0.5], [0.5, 1.0]], [200, 200], [2, 2], 0.95)
    assert (verdict.learnt, verdict.kept, verdict.kept_basis) == (True, None, [])


def test_one_task_has_no_earlier_ones():
    assert earlier_tasks([[0.5]], [10]) is None
