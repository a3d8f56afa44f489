"""Methods by name, and the settings that they refuse."""

import pytest

from myosotis.unlearning.language import build_method


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
