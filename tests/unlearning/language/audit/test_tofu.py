"""The measures of TOFU: numbers by hand, and aggregates of logs in the published layout."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.stats import ks_2samp

from myosotis.data.encoding import Encoder
from myosotis.engine.errors import InputError
from myosotis.unlearning.language.audit.tofu import (
    LOG_NAMES,
    TofuRecord,
    _log_p,
    aggregate_tofu_log,
    forget_quality,
    model_utility,
    parse_tofu,
    tofu_log,
    truth_ratio,
    truth_ratio_score,
)


def test_the_two_means():
    losses, right = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), torch.tensor([1.5], dtype=torch.float64)
    assert truth_ratio(losses, right).item() == pytest.approx(0.6065306597, abs=1e-10)
    assert truth_ratio(losses, right, "arithmetic").item() == pytest.approx(0.8261273635, abs=1e-10)


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_the_truth_ratio_of_a_collapsed_model_is_a_number(mean):
    for nats, dtype in ((800.0, torch.float64), (110.0, torch.float32)):
        wrong, right = torch.full((1, 2), nats, dtype=dtype), torch.tensor([nats], dtype=dtype)
        assert truth_ratio(wrong, right, mean).item() == pytest.approx(1.0)
        assert truth_ratio(wrong - 1, right, mean).item() == pytest.approx(math.e)
    part = {
        "avg_gt_loss": [800.0, 2.0],
        "average_perturb_loss": [[800.0, 801.0], [2.0, 3.0]],
        "avg_paraphrased_loss": [800.0, 1.0],
        "rougeL_recall": [0.0, 0.5],
    }
    log = dict.fromkeys(LOG_NAMES.values(), part)
    found = aggregate_tofu_log(log, mean=mean)
    assert all(math.isfinite(value) for value in found.values())
    assert found["real_authors_probability"] == pytest.approx(1 / (2 + math.exp(-1)))


RATIOS = st.lists(st.integers(1, 10_000).map(lambda hundredths: hundredths / 100), min_size=2, max_size=20)


@given(RATIOS, RATIOS)
def test_forget_quality_sees_ranks_only(ratios, others):
    a, b = torch.tensor(ratios, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    plain = forget_quality(a, b)
    assert forget_quality(1 / a, 1 / b).statistic == pytest.approx(plain.statistic)
    assert forget_quality(a.log(), b.log()).p_value == pytest.approx(plain.p_value, abs=1e-9)
    assert forget_quality(a, a).p_value == 1.0


def test_forget_quality_numbers():
    a = torch.arange(40, dtype=torch.float64)
    disjoint = forget_quality(a, a + 100)
    assert disjoint.p_value == pytest.approx(1.860e-23, rel=1e-3)
    assert disjoint.log10_p == pytest.approx(math.log10(disjoint.p_value))
    assert (disjoint.statistic, disjoint.count) == (1.0, 40)
    # D = 13/40 at n = 40
    shifted = forget_quality(a, a + 13)
    assert shifted.statistic == pytest.approx(0.325)
    assert shifted.p_value == pytest.approx(0.02860307, abs=1e-7)


@pytest.mark.parametrize(("count", "others"), [(515, 515), (520, 520), (1000, 1000), (4000, 4000), (300, 4000)])
def test_forget_quality_of_disjoint_samples_is_exact_below_the_smallest_float(count, others):
    values = torch.arange(count, dtype=torch.float64)
    disjoint = forget_quality(values, torch.arange(others, dtype=torch.float64) + 1e6)
    # One of C(n + m, n) orders has all of one sample before all of the other, and one the reverse.
    paths = math.lgamma(count + others + 1) - math.lgamma(count + 1) - math.lgamma(others + 1)
    assert disjoint.log10_p == pytest.approx(math.log10(2) - paths / math.log(10), rel=1e-12)


@pytest.mark.parametrize(("count", "others"), [(1, 1), (40, 40), (7, 5), (30, 40), (37, 41), (250, 100)])
def test_the_logarithm_of_the_exact_p_value_is_that_of_scipy(count, others):
    stream = torch.Generator().manual_seed(0)
    for shift in (0.0, 0.3, 1.0, 2.0, 5.0):
        first, second = (torch.randn(size, generator=stream, dtype=torch.float64) for size in (count, others))
        found = ks_2samp(first.numpy(), second.numpy() + shift)
        assert _log_p(found.statistic, count, others) == pytest.approx(math.log(found.pvalue), abs=1e-10)


def test_utility_is_a_harmonic_mean_that_one_zero_brings_down():
    assert model_utility([0.5] * 9) == pytest.approx(0.5)
    assert model_utility([0.5] * 8 + [0.0]) == 0.0
    assert model_utility([0.2, 0.4]) == pytest.approx(2 / (5 + 2.5))
    with pytest.raises(ValueError, match="non-negative"):
        model_utility([])


def test_scores_of_ratios():
    ratio = torch.tensor([0.25, 4.0, 1.0])
    assert truth_ratio_score(ratio, forget=True) == pytest.approx((0.25 + 0.25 + 1) / 3)
    assert truth_ratio_score(ratio, forget=False) == pytest.approx(0.25)


def published_layout(seed, samples=7):
    """A log as the authors publish them: index strings, lists of wrong answers, extra fields that nothing reads."""
    stream = np.random.default_rng(seed)
    log = {}
    for name, wrong in (
        ("eval_log.json", 5),
        ("eval_log_forget.json", 5),
        ("eval_real_author_wo_options.json", 3),
        ("eval_real_world_wo_options.json", 3),
    ):
        log[name] = {
            "avg_gt_loss": {str(i): float(v) for i, v in enumerate(stream.uniform(0.1, 2, samples))},
            "average_perturb_loss": {str(i): stream.uniform(0.5, 4, wrong).tolist() for i in range(samples)},
            "avg_paraphrased_loss": {str(i): float(v) for i, v in enumerate(stream.uniform(0.1, 2, samples))},
            "rougeL_recall": {str(i): float(v) for i, v in enumerate(stream.uniform(0, 1, samples))},
            "generated_text": {str(i): ["prompt", "said", "truth"] for i in range(samples)},
        }
    return log


def by_hand(log, mean):
    """An independent computation, part by part."""
    nine = []
    for name in ("eval_log.json", "eval_real_author_wo_options.json", "eval_real_world_wo_options.json"):
        part = log[name]
        keys = part["avg_gt_loss"]
        right = np.array([math.exp(-part["avg_gt_loss"][k]) for k in keys])
        wrong = [np.exp(-np.array(part["average_perturb_loss"][k])) for k in keys]
        if "real" in name:
            right = np.array([r / (r + w.sum()) for r, w in zip(right, wrong, strict=True)])
        paraphrased = part.get("avg_paraphrased_loss", part["avg_gt_loss"])
        ratios = []
        for k, w in zip(keys, wrong, strict=True):
            top = w.mean() if mean == "arithmetic" else math.exp(-np.mean(part["average_perturb_loss"][k]))
            ratios.append(max(0.0, 1 - top / math.exp(-paraphrased[k])))
        nine += [right.mean(), np.mean(list(part["rougeL_recall"].values())), np.mean(ratios)]
    return 9 / sum(1 / v for v in nine)


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_aggregates_of_the_published_layout(mean):
    log, reference = published_layout(0), published_layout(1)
    found = aggregate_tofu_log(log, reference, mean=mean)
    assert found["model_utility"] == pytest.approx(by_hand(log, mean), rel=1e-9)

    ratios = [
        [
            math.exp(np.mean(part["average_perturb_loss"][k]) - part["avg_paraphrased_loss"][k])
            for k in part["average_perturb_loss"]
        ]
        for part in (log["eval_log_forget.json"], reference["eval_log_forget.json"])
    ]
    assert found["forget_quality"] == pytest.approx(ks_2samp(*ratios).pvalue)
    assert found["ks_count"] == 7
    assert set(aggregate_tofu_log(log)) >= {"model_utility", "forget_truth_ratio", "retain_probability"}
    assert "forget_quality" not in aggregate_tofu_log(log)


def test_samples_are_paired_by_their_number_and_not_by_their_place():
    log = published_layout(2)
    turned = json.loads(json.dumps(log))
    for part in turned.values():
        part["avg_paraphrased_loss"] = dict(reversed(part["avg_paraphrased_loss"].items()))
    assert aggregate_tofu_log(turned) == pytest.approx(aggregate_tofu_log(log))


def test_files_lists_and_absent_fields(tmp_path):
    log = published_layout(3)
    for name in ("eval_real_author_wo_options.json", "eval_real_world_wo_options.json"):
        del log[name]["avg_paraphrased_loss"]
    expected = aggregate_tofu_log(log)
    assert expected["model_utility"] == pytest.approx(by_hand(log, "geometric"))
    (tmp_path / "log.json").write_text(json.dumps(log))
    assert aggregate_tofu_log(tmp_path / "log.json") == expected
    listed = {name: {field: list(values.values()) for field, values in part.items()} for name, part in log.items()}
    assert aggregate_tofu_log(listed) == pytest.approx(expected)
    del log["eval_log_forget.json"]
    assert aggregate_tofu_log(log)["model_utility"] == expected["model_utility"]
    with pytest.raises(InputError, match=r"eval_log_forget\.json"):
        aggregate_tofu_log(log, published_layout(1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda log: log.pop("eval_log.json"), "no part"),
        (lambda log: log["eval_log.json"].pop("rougeL_recall"), "rougeL_recall"),
        (lambda log: log["eval_log.json"]["avg_paraphrased_loss"].pop("3"), "lacks sample 3"),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"0": "low"}), "must hold the same number of numbers"),
    ],
)
def test_what_is_missing_is_named(spoil, message):
    log = published_layout(4)
    spoil(log)
    with pytest.raises(InputError, match=message):
        aggregate_tofu_log(log)


def test_a_file_that_is_no_log(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        aggregate_tofu_log(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        aggregate_tofu_log(tmp_path / "broken.json")


def test_a_model_writes_a_log_of_its_own(tokenizer, tiny_llama):
    records = [
        TofuRecord("Where?", "In Oslo.", ("In Rome.", "In Lima."), "It was Oslo."),
        TofuRecord("Who?", "A baker.", ("A pilot.", "A judge.")),
    ]
    encoder = Encoder(tokenizer, "Q: {prompt}\nA: {response}")
    log = tofu_log(tiny_llama(), tokenizer, encoder, records, max_new_tokens=4)
    # Equal but for rounding: the other records of the batch have another length.
    assert log["avg_paraphrased_loss"]["1"] == pytest.approx(log["avg_gt_loss"]["1"], rel=1e-5)
    assert log["avg_paraphrased_loss"]["0"] != pytest.approx(log["avg_gt_loss"]["0"], rel=1e-3)
    assert [len(values) for values in log["average_perturb_loss"].values()] == [2, 2]
    whole = dict.fromkeys(
        (
            "eval_log.json",
            "eval_log_forget.json",
            "eval_real_author_wo_options.json",
            "eval_real_world_wo_options.json",
        ),
        log,
    )
    assert aggregate_tofu_log(whole, whole)["forget_quality"] == 1.0


def test_rows_are_checked():
    row = {"question": "Where?", "answer": "Oslo.", "perturbed_answer": ["Rome."]}
    assert parse_tofu(row, "row 1").paraphrased is None
    for spoilt in ({"answer": ""}, {"perturbed_answer": []}, {"perturbed_answer": "Rome."}, {"paraphrased_answer": 3}):
        with pytest.raises(InputError, match="row 1"):
            parse_tofu({**row, **spoilt}, "row 1")
