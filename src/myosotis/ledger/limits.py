"""What an export of a ledger does not show, said in the export."""

from myosotis.ledger.recorded import RecordedModel
from myosotis.ledger.table import QUESTIONS, answers_of

PROVES = (
    "A ledger proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that "
    "no copy exists."
)


def limits_of(model: RecordedModel) -> list[str]:
    """Return the limits of what a ledger says about a model, a sentence or two each."""
    limits = [
        PROVES,
        "The figures are those of the operator's runs. A ledger binds them to the model; it measures none.",
    ]
    for statement in (model.line, *model.about):
        answers = answers_of(statement.predicate.verdict)
        limits += [
            f"line {statement.line}: no answer to: {QUESTIONS[name]}" for name, holds in answers if holds is None
        ]
    return [*limits, *model.remarks]
