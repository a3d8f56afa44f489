"""Tests of :mod:`myosotis.continual.classification.checks`."""

import pytest

from myosotis.continual.classification.methods import METHODS, build_learner
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental, data_incremental


def test_what_does_not_go_together(fit, images, stream):
    some = ExemplarMemory(total=12)
    for name in (name for name, method in METHODS.items() if method.needs_memory):
        with pytest.raises(ValueError, match="needs an exemplar memory"):
            fit(name, ExemplarMemory(total=0))
    with pytest.raises(ValueError, match="a memory of 5 is smaller than one exemplar for each of 6 classes"):
        fit("er", ExemplarMemory(total=5))
    with pytest.raises(ValueError, match="'reservoir' does not guarantee"):
        fit("icarl", ExemplarMemory(total=12, selection="reservoir"))
    with pytest.raises(ValueError, match="give its 'total'"):
        fit("dark_er", ExemplarMemory(per_class=2))
    with pytest.raises(ValueError, match="needs 'memory_batch_size'"):
        fit("dark_er", some, memory_batch_size=None)
    with pytest.raises(ValueError, match="between 1 and 9, got 10"):
        fit("er", some, memory_batch_size=10)
    with pytest.raises(ValueError, match="the stream is data-incremental"):
        fit("er", some, data_incremental(stream().train, 2))
    every = images()
    # One sample of one class: BiC used to fail after the first task, with "there is nothing to learn from".
    few = every.subset([place for place in range(len(every)) if every.labels[place] or place == 0])
    single = class_incremental(few, 2, 2, test=images(8, seed=1))
    with pytest.raises(ValueError, match="method 'bic' needs 2 training samples of each class, 'a' has 1"):
        fit("bic", some, single)
    fit("icarl", some, single)
    untested = class_incremental(images(), 2, 2)
    with pytest.raises(ValueError, match="needs test samples"):
        fit("er", some, untested)
    with pytest.raises(ValueError, match="unknown method 'ers'; did you mean 'er'"):
        build_learner("ers", None, lambda seed: None)
    with pytest.raises(ValueError, match="'lwf' has no setting 'weigth'; did you mean 'weight'"):
        METHODS.settings("lwf", {"weigth": 1})
