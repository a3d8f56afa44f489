"""Draws from search spaces."""

import pytest
from hypothesis import given, strategies as st

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.protocol.config import unit_config
from myosotis.protocol.spaces import COMMON, PUBLISHED, draw, published_space

TRAINED = sorted(name for name, method in METHODS.items() if method.trains)


@given(st.integers(0, 10**6), st.integers(0, 500), st.sampled_from(sorted(PUBLISHED)))
def test_a_draw_depends_on_its_arguments_alone(seed, trial, method):
    space = published_space(method)
    found = draw(space, method, seed, trial)
    assert found == draw(dict(reversed(space.items())), method, seed, trial)
    for key, value in found.items():
        assert value in space.get(key, {"training.drops": (2, 3, 4), "training.drop_factor": (0.1, 0.3, 0.5)}.get(key))
    assert ("training.drops" in found) == (found["training.schedule"] == "step")


def test_draws_cover_the_space_and_differ_between_methods():
    draws = [draw(published_space("er"), "er", 0, trial) for trial in range(200)]
    for key, values in COMMON.items():
        assert {drawn[key] for drawn in draws} == set(values)
    other = [draw(published_space("wa"), "wa", 0, trial) for trial in range(200)]
    assert [one["training.epochs"] for one in draws] != [one["training.epochs"] for one in other]
    with pytest.raises(ValueError, match="no value for 'training.epochs'"):
        draw({"training.epochs": ()}, "er", 0, 0)


@pytest.mark.parametrize("method", TRAINED)
def test_every_published_draw_is_a_job(protocol, method):
    settings = {"training.memory_batch_size": 16} if method == "dark_er" else {}
    config = protocol(methods={method: {"settings": settings}})
    for trial in range(20):
        drawn = draw(published_space(method), method, 0, trial)
        job = unit_config(config, config.tuning, method, drawn, 7)
        assert isinstance(job, ClassLearningConfig)
        assert (job.seed, job.method.name) == (7, method)
        assert job.training.epochs == drawn["training.epochs"]
    assert config.shared == {"scenario": {"first": 2, "per_task": 2}}  # not changed by making jobs from it


def test_icarl_and_wa_draw_from_one_weight_decay_more():
    """As the released searches do; the largest was missing."""
    decays = {name: published_space(name)["training.weight_decay"] for name in TRAINED}
    assert {name for name, values in decays.items() if values == (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)} == {"icarl", "wa"}
    assert {values for name, values in decays.items() if name not in ("icarl", "wa")} == {(1e-4, 5e-4, 1e-3, 5e-3)}
