"""Methods by name, and the settings that they refuse."""

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import build_method
from myosotis.unlearning.language.methods.term import Side, Sides


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("undial", {"beta": 0}, "beta"),
        ("wga", {"beta": -1}, "beta"),
        ("satimp", {"beta2": -1}, "beta"),
        ("ceu", {"skipped": -1}, "skipped"),
        ("pdu", {"retain": None}, "the retain NLL itself"),
        ("pdu", {"dual_step_size": 0}, "dual_step_size"),
        ("rmu", {"retain": "hiden"}, "hidden"),
        ("rmu", {"coefficient": 0}, "coefficient"),
        ("task-vector", {"retain": "nll"}, "no retain term"),
        ("task-vector", {"scale": 0}, "scale"),
        ("ga", {"projection": "conflict"}, "projection needs a retain term"),
        ("rmu", {"retain": None, "projection": "conflict"}, "projection needs a retain term"),
        ("composite", {}, "at least one"),
        ("composite", {"forget": [{"name": "npo", "retain": "kl"}]}, "belongs to the composite"),
        ("composite", {"forget": [{"name": "ihl"}, {"name": "ihl"}]}, "same name"),
        ("composite", {"forget": [{"name": "pdu"}]}, "cannot be a part"),
        ("composite", {"forget": ["ihl"]}, "list of methods"),
        ("composite", {"forget": [{"name": "idk"}, {"name": "altpo"}]}, "choose one"),
        ("composite", {"forget": [{"name": "ihl"}], "retain_terms": {"nl": 1}}, "nll"),
    ],
)
def test_settings_out_of_range_are_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        build_method(name, changes)


def test_a_term_is_called_after_its_method_unless_it_has_a_name():
    assert build_method("npo").forget_term().name == "forget_npo"
    assert build_method("altpo").forget_term().name == build_method("dpo").forget_term().name == "forget_dpo"


def test_a_mean_over_sequences_weighs_each_alike():
    sides = Sides(Side(torch.tensor([[1, 2, 3], [IGNORED, 4, IGNORED]]), torch.randn(2, 3, 5)))
    terms = [build_method("ga", {"reduction": unit}).forget_term() for unit in ("token", "sequence")]
    tokens, sequences = (term.items(sides) for term in terms)
    assert torch.allclose(sequences, torch.stack([tokens[0].mean(), tokens[1, 1]]))


def test_a_composite_has_no_losses_of_its_own():
    sides = Sides(Side(torch.tensor([[1]]), torch.randn(1, 1, 5)))
    with pytest.raises(TypeError, match="several forget terms"):
        build_method("composite", {"forget": [{"name": "ihl"}]}).forget_term().items(sides)
