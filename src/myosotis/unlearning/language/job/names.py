"""A reference without a second model: what the model says of the same records under invented names.

A model that has never met somebody treats their name as it treats any other. So what the model before unlearning shows
on a record whose subject is called otherwise is a level for that very record: of a single person the records can then
be compared one by one, and nobody else has to be found who was never taught. It is a level of this model, not of one
that never saw the records: where it offers what it learnt to strangers, the level is too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from myosotis.data.encoding import Encoder, Example
from myosotis.data.people import invented_names
from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.audit.audit import Audit, averaged
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.stress import rewordings
from myosotis.unlearning.language.job.auditing import audit_of
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import JobInputs
from myosotis.unlearning.language.training.strangers import check_subjects, renamed

_COPIES = 200
"""Records under invented names in all, if that leaves each enough of them."""
_MIN_NAMES, _MAX_NAMES = 8, 24
_DRAWS = 32
"""Invented names drawn for each that is needed: of a hundred people nearly every third shares no word with them."""


@dataclass(frozen=True)
class NamedCopies:
    """The records to forget under invented names.

    Attributes:
        sets: The copies of each record one after another, as the records to forget of an audit.
        names: Copies of each record.
    """

    sets: AuditSets
    names: int

    @classmethod
    def build(cls, config: LanguageUnlearningConfig, inputs: JobInputs) -> "NamedCopies":
        """Return the copies; a subject has the same invented names in all of its records.

        Args:
            config: The configuration of the job.
            inputs: Everything that the job has read.

        Raises:
            InputError: A record has no subject whose name could be replaced, or is cut under another name, or too few
                invented names are nobody's.
        """
        data, records = config.data, inputs.records.forget
        try:
            check_subjects(records)
        except InputError as error:
            raise InputError(f"'reference: names' cannot be used: {error}") from None
        encoder = Encoder(inputs.tokenizer, data.template, data.max_length, data.append_eos)
        names = max(_MIN_NAMES, min(_MAX_NAMES, _COPIES // len(records)))
        everybody = (example.subject for example in inputs.audited.examples)
        words = {word for name in everybody if name is not None for word in name.casefold().split()}
        drawn = {
            subject: _of_nobody(subject, names, derive_seed(config.seed, "reference names", number), words)
            for number, subject in enumerate(dict.fromkeys(str(record.subject) for record in records))
        }
        copies = [renamed(record, name) for record in records for name in drawn[str(record.subject)]]
        examples = _encoded(copies, encoder)
        sets = AuditSets(examples, rewordings={"forget": rewordings(copies, encoder)}, facts=inputs.audited.marked)
        return cls(sets, names)

    def audit(self, model: nn.Module, config: LanguageUnlearningConfig, inputs: JobInputs) -> Audit:
        """Return figures of the records to forget: each the mean over its copies.

        Args:
            model: The model before unlearning.
            config: The configuration of the job.
            inputs: Everything that the job has read.
        """
        found = audit_of(model, inputs, config.audit, self.sets)
        return averaged(found, "forget", self.names, inputs.audited.forget, config.audit.confidence)


def _of_nobody(subject: str, count: int, seed: int, words: set[str]) -> list[str]:
    """Invented names that share no word with anybody: namesakes of known people would not be strangers.

    Args:
        subject: Name that is replaced.
        count: Number of names.
        seed: Seed of the drawing.
        words: Words of everybody's names, casefolded.

    Raises:
        InputError: Too few of those that were drawn share no word.
    """
    drawn = invented_names(subject, _DRAWS * count, seed)
    strange = [name for name in drawn if not words & set(name.casefold().split())]
    if len(strange) < count:
        raise InputError(
            f"'reference: names' cannot be used: of {len(drawn)} invented names {len(strange)} share no word with the "
            f"subjects of the records, {count} are needed; give unseen records of 20 subjects instead"
        )
    return strange[:count]


def _encoded(copies: Sequence[Record], encoder: Encoder) -> list[Example]:
    examples = [encoder(copy) for copy in copies]
    if any(example.cut for example in examples):
        raise InputError("'reference: names': a record is too long under an invented name; raise data.max_length")
    return examples
