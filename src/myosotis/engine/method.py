"""The card of a method: what ``myosotis methods`` prints and the documentation starts from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodCard:
    """What a user wants to know of a method before choosing it.

    Attributes:
        name: As in a configuration.
        title: As in the literature.
        paper: Authors, title, venue, year.
        reads: What data it needs, e.g. ``"forget, retain"``.
        memory: What it keeps in memory beside plain training.
        purpose: When to choose it, in one sentence.
    """

    name: str
    title: str
    paper: str
    reads: str
    memory: str
    purpose: str
