"""What a registry takes, finds and refuses; methods of other distributions by their entry points."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import pytest
from pydantic import PositiveFloat

from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.method import MethodCard
from myosotis.engine.registry import GROUP, Registry


def card(name):
    return MethodCard(name, name.title(), "-", "nothing", "nothing", "Tests.")


class Flower(ABC):
    @abstractmethod
    def colour(self):
        """Return its colour."""


@dataclass(frozen=True)
class Rose(Flower):
    card = card("rose")
    petals: int = 5

    def colour(self):
        return "red"


@dataclass(frozen=True)
class AsterSettings:
    size: PositiveFloat = 1.0


class Aster(Flower):
    card = card("aster")
    Settings = AsterSettings

    def __init__(self, settings, place):
        self.settings, self.place = settings, place

    def colour(self):
        return "blue"


@pytest.fixture
def flowers():
    return Registry(Flower, (Rose, Aster), "flower")


def test_it_is_a_mapping_in_the_order_given(flowers):
    assert list(flowers) == ["rose", "aster"]
    assert (len(flowers), flowers["aster"], "tulip" in flowers, 3 in flowers) == (2, Aster, False, False)
    with pytest.raises(KeyError):
        flowers["tulip"]
    assert flowers.card("rose").title == "Rose"
    with pytest.raises(InputError, match="unknown flower 'tulip'; is the distribution"):
        flowers.card("tulip")


def test_settings_are_the_class_or_beside_it(flowers):
    assert flowers.build("rose", {"petals": 6}) == Rose(6)
    built = flowers.build("aster", {"size": 2}, "garden")
    assert (built.settings, built.place) == (AsterSettings(2.0), "garden")
    assert flowers.settings("aster") == AsterSettings()
    for name, given, message in (
        ("ros", {}, "unknown flower 'ros'; did you mean 'rose'"),
        ("rose", {"petal": 1}, "flower 'rose' has no setting 'petal'; did you mean 'petals'"),
        ("aster", {"size": 0}, "flower 'aster', size: "),
        ("rose", {"petals": "many"}, "flower 'rose', petals: "),
    ):
        with pytest.raises(SettingsError, match=message):
            flowers.build(name, given)


def test_what_is_no_such_class_is_refused(flowers):
    class Pale(Rose):
        pass

    class Nameless(Flower):
        card = None

        def colour(self):
            return ""

    class Plain(Flower):
        card = card("plain")

        def colour(self):
            return ""

    class Blank(Flower):
        card = card("blank")

    assert flowers.register(Rose) is Rose
    for kind, fault, message in (
        (dict, TypeError, "inherits from Flower"),
        (Rose(), TypeError, "inherits from Flower"),
        (Blank, TypeError, "Blank does not define colour"),
        (Nameless, TypeError, "Nameless has no card"),
        (Plain, TypeError, "the settings of Plain are not a dataclass"),
        (Pale, ValueError, "the flower 'rose' is already defined: .*Rose"),
    ):
        with pytest.raises(fault, match=message):
            flowers.register(kind)
    assert list(flowers) == ["rose", "aster"]


MODULE = f"""
from dataclasses import dataclass
from {__name__} import Aster, Flower, Rose, card

@dataclass(frozen=True)
class Lily(Rose):
    card = card("lily")

@dataclass(frozen=True)
class Second(Rose):
    card = card("lily")

@dataclass(frozen=True)
class Thief(Rose):
    card = card("rose")

class Stone:
    pass

def grow():
    pass
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Return how a distribution is installed that brings things by entry points."""

    def install(name, **points):
        info = tmp_path / name / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (tmp_path / name / f"{name}_flowers.py").write_text(MODULE)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{point} = {name}_{value}\n" for point, value in points.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path / name)

    return install


def test_other_distributions_bring_classes(flowers, distribution):
    distribution("meadow", lily="flowers:Lily", stone="flowers:Stone")
    assert "stone" not in flowers  # of another base
    assert flowers.build("lily", {"petals": 3}).petals == 3
    assert list(flowers) == ["rose", "aster", "lily"]


def test_a_list_has_them_before_they_are_named(flowers, distribution):
    distribution("meadow", lily="flowers:Lily")
    assert len(flowers) == 3
    with pytest.raises(SettingsError, match="did you mean 'lily'"):
        flowers.settings("lilly")


def test_one_that_cannot_be_used_does_not_hinder_the_others(flowers, distribution):
    distribution("meadow", tulip="flowers:Tulip", weed="none:Weed")
    assert flowers.build("rose") == Rose()
    for name in ("tulip", "weed"):
        with pytest.raises(InputError, match=f"the method '{name}' of meadow cannot be imported"):
            flowers.build(name)


@pytest.mark.parametrize(
    ("point", "value", "message"),
    [
        ("oak", "flowers:Lily", "the method 'oak' of meadow has the name 'lily' on its card"),
        ("oak", "flowers:grow", "the method 'oak' of meadow is not a class"),
        ("oak", "flowers:Flower", "the method 'oak' of meadow cannot be used: Flower does not define colour"),
        ("rose", "flowers:Thief", "the method 'rose' of meadow cannot be used: the flower 'rose' is already defined"),
    ],
)
def test_what_a_distribution_may_not_bring(flowers, distribution, point, value, message):
    distribution("meadow", **{point: value})
    with pytest.raises(InputError, match=message):
        list(flowers)
    assert "lily" not in flowers


def test_two_distributions_with_one_name(flowers, distribution):
    distribution("meadow", lily="flowers:Lily")
    distribution("marsh", lily="flowers:Second")
    with pytest.raises(InputError, match="the flower 'lily' is already defined"):
        flowers.build("lily")
