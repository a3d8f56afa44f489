"""Registries: what a configuration can name, of the package itself and of other distributions."""

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from myosotis.engine.errors import InputError
from myosotis.engine.method import MethodCard, check_method, validated

T = TypeVar("T")

GROUP = "myosotis.methods"
"""The group of entry points by which other distributions bring methods."""


class Registry(Mapping[str, type[T]]):
    """Classes by their names, in a fixed order, each with a ``card`` and settings that are a dataclass.

    The settings are the class itself, or its ``Settings``: then instances are made of settings and whatever else
    :meth:`build` is given. Other distributions bring classes by the entry-point group ``myosotis.methods``, each under
    the name on its card; a registry takes those that are of its base. Nothing of them is imported before a
    configuration names one, or the whole list is asked for.

    Args:
        base: Class that all of them inherit from.
        kinds: Classes of the package.
        what: Name of one of them in messages.

    Raises:
        TypeError: See :meth:`register`.
        ValueError: See :meth:`register`.

    Example:
        >>> from myosotis.unlearning.classifier.methods import METHODS
        >>> METHODS["adv"].card.title
        'Adversarial examples (ADV)'
        >>> METHODS.build("adv", {"eps": 1.0}).eps
        1.0
    """

    def __init__(self, base: type[Any], kinds: Iterable[type[T]], what: str = "method") -> None:
        self._base = base
        self._what = what
        self._kinds: dict[str, type[T]] = {}
        for kind in kinds:
            self.register(kind)

    def register(self, kind: type[T]) -> type[T]:
        """Add a class, and return it: also a decorator.

        Raises:
            TypeError: It is not of the registry's base, leaves something abstract, or has no card or no settings.
            ValueError: There is another one of its name.
        """
        if not (isinstance(kind, type) and issubclass(kind, self._base)):
            raise TypeError(f"a {self._what} is a class that inherits from {self._base.__name__}, got {kind!r}")
        if inspect.isabstract(kind):
            missing = ", ".join(sorted(vars(kind)["__abstractmethods__"]))
            raise TypeError(f"{kind.__name__} does not define {missing}")
        card = getattr(kind, "card", None)
        if not isinstance(card, MethodCard):
            raise TypeError(f"{kind.__name__} has no card; expected card = MethodCard(...)")
        if not dataclasses.is_dataclass(_settings_of(kind)):
            raise TypeError(f"the settings of {kind.__name__} are not a dataclass")
        if self._kinds.setdefault(card.name, kind) is not kind:
            raise ValueError(
                f"the {self._what} '{card.name}' is already defined: {_qualified_name(self._kinds[card.name])}"
            )
        return kind

    def settings(self, name: str, given: Mapping[str, Any] | None = None) -> Any:
        """Return the settings of a class: its defaults, changed by what is given, values made of the fields' types.

        Args:
            name: Name of the class.
            given: Settings by the names of fields.

        Raises:
            SettingsError: There is no such name or field, or a value does not fit.
        """
        kinds = _AllSettings(self)
        check_method(name, given or {}, kinds, self._what)
        return validated(name, kinds[name], dict(given or {}), self._what)

    def settings_class(self, name: str) -> type[Any]:
        """Return the dataclass that the settings of a class are."""
        return _settings_of(self[name])

    def build(self, name: str, given: Mapping[str, Any] | None = None, *parts: Any) -> T:
        """Return an instance.

        Args:
            name: Name of the class.
            given: Settings, as for :meth:`settings`.
            parts: Further arguments of the class.

        Raises:
            SettingsError: As :meth:`settings`.
        """
        settings = self.settings(name, given)
        kind: Any = self[name]
        built: T = settings if _settings_of(kind) is kind else kind(settings, *parts)
        return built

    def card(self, name: str) -> MethodCard:
        """Return the card of a class.

        Raises:
            InputError: There is none of this name: the distribution that brought it may have been removed.
        """
        if name not in self:
            raise InputError(f"unknown {self._what} '{name}'; is the distribution that provides it installed?")
        card: MethodCard = self[name].card  # type: ignore[attr-defined]
        return card

    def __getitem__(self, name: str) -> type[T]:
        self._find(name)
        return self._kinds[name]

    def __contains__(self, name: object) -> bool:
        if isinstance(name, str):
            self._find(name)
        return name in self._kinds

    def __iter__(self) -> Iterator[str]:
        for point in entry_points(group=GROUP):
            self._load(point)
        return iter(tuple(self._kinds))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, name: str) -> None:
        """Import what other distributions bring under a name that is not known yet."""
        if name not in self._kinds:
            for point in entry_points(group=GROUP, name=name):
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        origin = f"the method '{point.name}' of {point.dist.name if point.dist else point.value}"
        try:
            kind = point.load()
        except (ImportError, AttributeError) as error:
            raise InputError(f"{origin} cannot be imported: {error}") from error
        if not isinstance(kind, type):
            raise InputError(f"{origin} is not a class: {point.value}")
        if not issubclass(kind, self._base):
            return
        card = getattr(kind, "card", None)
        if isinstance(card, MethodCard) and card.name != point.name:
            raise InputError(f"{origin} has the name '{card.name}' on its card")
        try:
            self.register(kind)
        except (TypeError, ValueError) as error:
            raise InputError(f"{origin} cannot be used: {error}") from error


class _AllSettings(Mapping[str, type[Any]]):
    """The settings of all classes of a registry, by their names."""

    def __init__(self, kinds: Mapping[str, type[Any]]) -> None:
        self._kinds = kinds

    def __getitem__(self, name: str) -> type[Any]:
        return _settings_of(self._kinds[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def _settings_of(kind: type[Any]) -> type[Any]:
    settings: type[Any] = getattr(kind, "Settings", kind)
    return settings


def _qualified_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
