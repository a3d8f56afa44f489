"""The report of a forgetting in a learner: that of a classifier, and what became of what the learner stores."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from myosotis.engine.run import Run
from myosotis.forgetting_learner.by_gradient.result import LearnerForgettingResult, LearnerPart
from myosotis.report.document import Document, Row, Section, Table
from myosotis.unlearning.classifier.job import report

compare = partial(report.compare, model=LearnerForgettingResult)
for_person = partial(report.for_person, model=LearnerForgettingResult)
describe_audit = partial(report.describe_audit, model=LearnerForgettingResult)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``unlearn-learner``.
    """
    document, learner = report.describe(run, LearnerForgettingResult), run.result_as(LearnerForgettingResult).learner
    limits = [*document.limits, learner.leaves] if learner.leaves else document.limits
    return replace(document, limits=limits, sections=[_learner_section(learner), *document.sections])


def _learner_section(learner: LearnerPart) -> Section:
    rows = [
        Row("Exemplars", [str(learner.exemplars_before), str(learner.exemplars_after)]),
        Row("Forgotten images among them", [_by_class(learner.exemplars_forgotten), "0"]),
        Row("Forgotten images stored with logits", [str(learner.logits_forgotten), "0"]),
        Row("Remaining images that took their slots", ["-", _by_class(learner.exemplars_refilled)]),
    ]
    paragraphs = [
        f"The learner, {learner.method} after {learner.tasks} tasks, can go on: 'continue_from' of "
        "'learn-classes' takes this run, and refuses the forgotten images."
    ]
    if learner.restated:
        paragraphs.append("What the method derives from exemplars was computed anew.")
    return Section("The learner", paragraphs, [Table("What it stores", ["Before", "After"], rows, "Images")])


def _by_class(counts: Mapping[str, int]) -> str:
    if not counts:
        return "0"
    return f"{sum(counts.values())} ({', '.join(f'{name}: {count}' for name, count in counts.items())})"
