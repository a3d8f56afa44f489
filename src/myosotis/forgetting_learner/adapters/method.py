"""The card of adapters a subject, so that the lists of methods name them."""

from dataclasses import dataclass
from typing import ClassVar

from myosotis.engine.method import MethodCard
from myosotis.engine.registry import Registry


@dataclass(frozen=True)
class SubjectAdapters:
    """An adapter a subject and a router of sums; see :class:`~.learner.SubjectLearner`. Its settings are the job's."""

    card: ClassVar[MethodCard] = MethodCard(
        "subject-adapters",
        "Adapters by subject",
        "ours, of LoRA (Hu et al., ICLR 2022) and RanPAC (McDonnell et al., NeurIPS 2023)",
        "records by subject",
        "an adapter a subject, second moments of the router's features",
        "A language model that will have to forget: a subject is taken out to the bit, at once and without training.",
    )


METHODS: Registry[SubjectAdapters] = Registry(SubjectAdapters, (SubjectAdapters,))
"""The one method of learners with an adapter a subject."""
