import pytest

from myosotis.unlearning.classifier.methods import METHODS, build_method


def test_every_method_says_what_it_reads():
    for name, method in METHODS.items():
        assert method.card.name == name
        assert method.reads_retain == ("retain" in method.card.reads)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("adv_im", {}, "did you mean 'adv_imp'"),
        ("adv", {"epps": 1.0}, "did you mean 'eps'"),
        ("adv", {"eps": -1.0}, "greater than 0"),
        ("neggrad_plus", {"alpha": 2.0}, "less than or equal to 1"),
        ("finetune", {"alpha": 1}, "known: none"),
    ],
)
def test_wrong_settings(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_method(name, settings)
