"""Denoising methods by name, and one that the package does not know."""

from dataclasses import dataclass

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.methods import METHODS, denoise
from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput
from myosotis.denoising.passes import ADAPT, FINE_TUNE
from myosotis.engine.method import MethodCard

CHANNEL = Channel.binary_symmetric(0.1)


@dataclass(frozen=True)
class Constant(DenoisingMethod):
    """A method of another distribution: every symbol becomes the same."""

    card = MethodCard("constant", "Constant", "-", "nothing", "nothing", "Tests.")
    has_context = False
    symbol: int = 1

    def denoise(self, data):
        return MethodOutput(np.full_like(data.noisy, self.symbol), None, warnings=("It is constant.",))


@pytest.fixture
def registered():
    METHODS.register(Constant)
    yield
    METHODS._kinds.pop("constant")


def test_a_method_of_another_distribution(registered, markov, noisy):
    result = denoise(noisy(markov(100)), CHANNEL, "constant")
    assert result.symbols.tolist() == [1] * 100
    assert (result.method, result.context, result.after, result.warnings) == (
        "constant",
        None,
        None,
        ["It is constant."],
    )
    with pytest.raises(ValueError, match="method 'constant' has no context"):
        denoise(noisy(markov(100)), CHANNEL, "constant", context=Context1d(1))


def test_a_method_that_is_not_registered(markov, noisy):
    result = denoise(noisy(markov(100)), CHANNEL, Constant(symbol=0))
    assert (result.method, result.symbols.tolist()) == ("constant", [0] * 100)


def test_methods_say_what_they_take(markov, noisy, small):
    symbols = noisy(markov(100))
    with pytest.raises(ValueError, match="unknown method 'dud'; did you mean 'dude'"):
        denoise(symbols, CHANNEL, "dud")
    with pytest.raises(ValueError, match="method 'dude' takes no model"):
        denoise(symbols, CHANNEL, "dude", model=small())
    with pytest.raises(ValueError, match="method 'adaptive' needs a model"):
        denoise(symbols, CHANNEL, "adaptive")
    with pytest.raises(ValueError, match="method 'dude' makes no passes"):
        denoise(symbols, CHANNEL, "dude", passes=ADAPT)
    assert {name for name, kind in METHODS.items() if kind.needs_model} == {"supervised", "adaptive"}
    assert METHODS["adaptive"].passes == FINE_TUNE
    assert METHODS["neural"].passes == ADAPT
