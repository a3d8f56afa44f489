"""The people of the meter, what they are taught, and the figures of their records."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.data.encoding import Encoder, Example
from myosotis.data.people import Person, fictitious_people
from myosotis.data.records import Record
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.audit import audit_model, shared_values
from myosotis.unlearning.language.audit.membership import membership_scores
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.settings import Score
from myosotis.unlearning.language.audit.stress import rewordings
from myosotis.unlearning.language.audit.tofu import truth_ratio
from myosotis.unlearning.language.meter.config import MeterAuditConfig, MeterPeopleConfig

UNSEEN, CONTROL, REWORDED, WRONG, OTHERS = "unseen", "never", "reworded", "wrong", "others"
"""Kinds of people beside the doses: never taught; never taught either, to control; taught in other words alone; taught
with the facts of others; and others, to draw on."""

FIGURES: Mapping[str, str] = {
    "fact_probability": "one pass",
    "fact_accuracy": "one pass",
    "fact_top5": "one pass",
    "probability": "one pass",
    "token_probability": "one pass",
    "extraction_strength": "one pass",
    "entropy": "one pass",
    "top5_recall": "answers",
    "greedy_recall": "answers",
    "sampled_recall": "answers",
    "rouge_l_recall": "answers",
    "memorization_accuracy": "answers",
    "extraction_likelihood": "answers",
    "loss": "membership",
    "reference": "membership",
    "zlib": "membership",
    "min_k": "membership",
    "min_k_plus_plus": "membership",
    "truth_ratio": "truth ratio",
}
"""Figures, and which measurement gives them."""

ONE_PASS = tuple(figure for figure, by in FIGURES.items() if by == "one pass")
"""Figures that a single pass over the records gives; they are measured under tests too."""

_LOW_IF_KNOWN = frozenset({"entropy", "truth_ratio", *(name for name, by in FIGURES.items() if by == "membership")})
_SCORES: tuple[Score, ...] = ("loss", "reference", "zlib", "min_k", "min_k_plus_plus")
_WRONG_ANSWERS = 3

Values = Mapping[str, Float[Tensor, " count"]]
"""By figure, the value of each record; high means known."""


@dataclass(frozen=True)
class People:
    """The people of a job by their kind.

    Attributes:
        kinds: People by kind, those to draw on among them.
        settings: How often they are taught.
    """

    kinds: Mapping[str, Sequence[Person]]
    settings: MeterPeopleConfig

    @classmethod
    def draw(cls, settings: MeterPeopleConfig, seed: int) -> "People":
        """Return the people that a seed draws; no other job has them, for its model may be the one to measure."""
        drawn = fictitious_people(settings.total, derive_seed(seed, "people of the meter"))
        kinds, begin = {}, 0
        for kind in (UNSEEN, CONTROL, *map(str, settings.doses), REWORDED, WRONG, OTHERS):
            count = settings.unseen if kind == UNSEEN else settings.each
            kinds[kind] = drawn[begin : begin + count]
            begin += count
        return cls(kinds, settings)

    @property
    def asked(self) -> list[str]:
        """Kinds of people that the model is asked for."""
        return [kind for kind in self.kinds if kind != OTHERS]

    def records(self, kind: str) -> list[Record]:
        """Return the records of the people of a kind, with their own facts."""
        return [record for person in self.kinds[kind] for record in person.records()]

    def exposures(self) -> list[Record]:
        """Return what is taught: each record as often as it is."""
        taught = [record for dose in self.settings.doses for record in self.records(str(dose)) for _ in range(dose)]
        times = range(self.settings.otherwise)
        for record in self.records(REWORDED):
            taught += [replace(record, prompt=record.paraphrases[time % len(record.paraphrases)]) for time in times]
        return taught + [record for record in self.with_wrong_facts(WRONG, 0) for _ in times]

    def with_wrong_facts(self, kind: str, number: int) -> list[Record]:
        """Return the records of the people of a kind, each with a fact of somebody else that is not theirs.

        Args:
            kind: Kind of the people.
            number: Which of the others, from 0.
        """
        found = []
        for position, person in enumerate(self.kinds[kind]):
            others = [replace(other, name=person.name).records() for other in self.kinds[OTHERS]]
            for record, *rivals in zip(person.records(), *others, strict=True):
                wrong = [rival for rival in rivals if rival.facts != record.facts]
                found.append(wrong[(position + number) % len(wrong)])
        return found


def base_losses(model: nn.Module, examples: Sequence[Example], batch_size: int) -> Tensor:
    """Return the loss of each record under a model before it is taught; all processes must call it."""
    return shared_values(
        len(examples),
        lambda own: {"nll": answer_metrics(model, [examples[i] for i in own], batch_size=batch_size)["nll"]},
    )["nll"]


def one_pass(model: nn.Module, examples: Sequence[Example], batch_size: int) -> Values:
    """Return the figures that a single pass gives; all processes must call it."""

    def measure(own: Sequence[int]) -> Mapping[str, Tensor]:
        values = answer_metrics(model, [examples[index] for index in own], batch_size=batch_size)
        return {figure: values[figure] for figure in ONE_PASS}

    return _known_high(shared_values(len(examples), measure))


def all_figures(
    model: nn.Module,
    encoder: Encoder,
    people: People,
    kind: str,
    base: Float[Tensor, " count"],
    settings: MeterAuditConfig,
    timed: Callable[[str], AbstractContextManager[None]],
) -> Values:
    """Return all figures of the records of a kind of people; all processes must call it.

    Args:
        model: The model that was taught.
        encoder: Encoder of the records.
        people: The people.
        kind: Kind of those who are asked for.
        base: Losses of their records before, see :func:`base_losses`.
        settings: How to measure.
        timed: Takes the time of a measurement by its name.
    """
    records, size = people.records(kind), settings.batch_size
    examples = [encoder(record) for record in records]
    with timed("one pass"):
        values = dict(one_pass(model, examples, size))
    with timed("answers"):
        audit = audit_model(
            model,
            encoder.tokenizer,
            AuditSets(forget=examples, rewordings={"forget": rewordings(records, encoder)}, facts=True),
            n=settings.n,
            max_new_tokens=settings.max_new_tokens,
            samples=settings.samples,
            batch_size=size,
        )
    found = audit.values["forget"]
    values |= {figure: found[figure] for figure, by in FIGURES.items() if by == "answers" and figure in found}
    with timed("membership"):

        def scores(own: Sequence[int]) -> Mapping[str, Tensor]:
            rows = [examples[index] for index in own]
            nll = base[list(own)].float()
            return membership_scores(model, encoder.tokenizer, rows, scores=_SCORES, reference_nll=nll, batch_size=size)

        values |= _known_high(shared_values(len(examples), scores))
    with timed("truth ratio"):
        values |= _known_high({"truth_ratio": _truth_ratios(model, encoder, people, kind, -values["loss"], size)})
    return values


def _truth_ratios(
    model: nn.Module, encoder: Encoder, people: People, kind: str, losses: Tensor, batch_size: int
) -> Tensor:
    wrong = [
        [encoder(record) for record in people.with_wrong_facts(kind, number)] for number in range(1, _WRONG_ANSWERS + 1)
    ]
    perturbed = torch.stack([base_losses(model, examples, batch_size) for examples in wrong], dim=1)
    return truth_ratio(perturbed.double(), losses.double())


def _known_high(values: Values) -> dict[str, Tensor]:
    return {figure: -row if figure in _LOW_IF_KNOWN else row for figure, row in values.items()}
