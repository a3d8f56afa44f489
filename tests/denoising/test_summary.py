"""Figures of a denoised file."""

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.methods import DenoiseResult, denoise
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.summary import Tally, described, summarise


def summary(noisy, found, names, reference=None):
    channel = Channel.symmetric(len(names), 0.1)
    result = DenoiseResult(found, "dude", None, {}, channel, 0.1, 0.0, 0.01, [])
    tally = Tally(len(names))
    tally.add(noisy, found, reference)
    return summarise(tally, result, names, time.monotonic())


def test_changes_are_counted():
    noisy = np.array([[0, 1, 2, 2], [1, 1, 0, 0]], dtype=np.uint64)
    found = np.array([[0, 0, 2, 1], [1, 1, 0, 2]], dtype=np.uint64)
    told = summary(noisy, found, "abc", np.array([[0, 0, 2, 2], [1, 1, 2, 0]]))
    assert (told["true_error_before"], told["true_error_after"]) == (2 / 8, 3 / 8)
    assert told["changes"] == [[2, 0, 1], [1, 2, 0], [0, 1, 1]]
    assert told["changed"] == 3


def test_memory_of_counting():
    """Two copies of eight bytes a symbol used to be made."""
    noisy = np.zeros(12_000_000, dtype=np.uint8)
    tracemalloc.start()
    told = summary(noisy, noisy, "ab", noisy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told["changes"] == [[12_000_000, 0], [0, 0]]
    assert peak < noisy.size


def denoised(noisy, channel, method="dude", clean=None, context=None):
    result = denoise(noisy, channel, method, context=context)
    tally = Tally(channel.outputs)
    tally.add(noisy, result.symbols, clean)
    return summarise(tally, result, "ACGT"[: channel.outputs], time.monotonic())


def better(figures):
    """The mark and the sentence of the report."""
    verdict = next(one for one in described(figures).verdicts if one.question == "Is it better?")
    return verdict.mark, verdict.answer


@pytest.mark.parametrize("method", ["dude", "dude_loo"])
def test_an_output_that_is_the_input_has_no_verdict(method):
    """129 of 247 unchanged outputs were called better: rules that were not used are judged, too."""
    draws, unchanged = np.random.default_rng(0), 0
    for _ in range(60):
        noisy = draws.integers(0, 2, draws.choice([50, 300, 1000])).astype(np.uint8)
        figures = denoised(noisy, Channel.symmetric(2, float(draws.choice([0.01, 0.05, 0.2]))), method)
        if figures["changed"] == 0:
            unchanged += 1
            assert better(figures) == ("", "Nothing was changed.")
            assert figures["estimated_error_after"] == figures["estimated_error_before"]
            assert figures["estimated_gain"] is None
    assert unchanged > 20


def test_a_constant_file_has_no_verdict_and_no_negative_error():
    figures = denoised(np.zeros(3000, dtype=np.uint8), Channel.symmetric(4, 0.01))
    assert (figures["changed"], figures["estimated_error_after"]) == (0, pytest.approx(0.01))
    assert better(figures)[0] == ""
    # The true original does not change this: nothing was done.
    clean = np.zeros(3000, dtype=np.uint8)
    assert better(denoised(clean, Channel.symmetric(4, 0.01), clean=clean))[0] == ""


def test_a_rate_that_is_too_high_is_told():
    """The estimate fell below 0 and was shown so."""
    draws = np.random.default_rng(0)
    clean = np.repeat(draws.integers(0, 2, 100), 50)
    noisy = Channel.symmetric(2, 0.02).corrupt(clean, draws)
    figures = denoised(noisy, Channel.symmetric(2, 0.25))
    assert figures["estimated_error_after"] == 0
    told = "came out below 0 and is shown as 0: the rate given is higher than the data show."
    assert any(told in warning for warning in figures["warnings"])


@pytest.mark.parametrize(
    ("after", "gain"), [(-0.03, (0.1, 0.1, 0.15)), (-0.01, (0.1, 0.09, 0.13)), (0.0, (0.1, 0.08, 0.12))]
)
def test_an_error_below_0_leaves_no_more_gain_than_there_was_error(after, gain):
    noisy = np.arange(1000) % 2
    result = DenoiseResult(1 - noisy, "dude", None, {}, Channel.symmetric(2, 0.1), 0.1, after, 0.02 / 1.959964, [])
    tally = Tally(2)
    tally.add(noisy, result.symbols)
    figures = summarise(tally, result, "ab", time.monotonic())
    assert tuple(figures["estimated_gain"].values()) == pytest.approx(gain)
    because = "the rate given is higher" if after == -0.03 else "chance explains it"
    assert [because in warning for warning in figures["warnings"]] == [True] * (after < 0)


def test_a_conservative_estimate_never_says_worse():
    """Two networks of half a small file lose, the one of all of it gains: of a hundred files six were called worse."""
    draws, channel = np.random.default_rng(0), Channel.symmetric(2, 0.1)
    noisy = channel.corrupt(markov(draws, 800, 0.1), draws)
    result = denoise(noisy, channel, "neural")
    assert result.conservative
    tally = Tally(2)
    tally.add(noisy, result.symbols)
    figures = summarise(tally, replace(result, after=0.9, standard_error=0.01), "ab", time.monotonic())
    mark, answer = better(figures)
    assert (mark, figures["estimated_gain"]["high"]) == ("undecided", None)
    assert "at least -" in answer
    assert not denoise(noisy, channel, "dude").conservative
    model = NeuralDenoiser(2, Context1d(4))
    assert not denoise(noisy, channel, "supervised", model=model).conservative
    assert denoise(noisy, channel, "adaptive", model=model).conservative


def markov(draws, count, flip):
    return np.cumsum(draws.random(count) < flip) % 2


@pytest.mark.parametrize(("flip", "rate", "method"), [(0.1, 0.1, "dude"), (0.02, 0.05, "dude_loo"), (0.1, 0.2, "dude")])
def test_the_interval_holds_the_true_gain(flip, rate, method):
    """In simulations it did in 94 or more of 100."""
    draws, channel, held, answers = np.random.default_rng(1), Channel.symmetric(2, rate), 0, []
    for _ in range(60):
        clean = markov(draws, 3000, flip)
        figures = denoised(channel.corrupt(clean, draws), channel, method, clean, Context1d(2))
        gain = figures["estimated_gain"]
        held += gain["low"] <= figures["true_error_before"] - figures["true_error_after"] <= gain["high"]
        without = {key: value for key, value in figures.items() if not key.startswith("true")}
        answers.append(better(without)[0])
    assert held >= 50
    assert answers.count("no") == 0
    assert answers.count("yes") >= 20


def test_a_gain_that_chance_explains_is_undecided():
    draws, channel, answers = np.random.default_rng(2), Channel.symmetric(2, 0.02), []
    for _ in range(30):
        clean = markov(draws, 200, 0.1)
        answers.append(better(denoised(channel.corrupt(clean, draws), channel, "dude_loo"))[0])
    assert answers.count("yes") <= 3
