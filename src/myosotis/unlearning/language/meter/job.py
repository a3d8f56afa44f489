"""The job of ``meter``."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedModel

from myosotis.data.encoding import Encoder, Example, pad_examples, pad_token_id
from myosotis.data.records import Record
from myosotis.engine.artifact import read_weights
from myosotis.engine.checkpoint import is_complete, sealed_directory
from myosotis.engine.errors import DivergedError, InputError, settings_as_input
from myosotis.engine.files import write_tensors
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.forecast import Phase, steps_of, training_step
from myosotis.engine.job import Job
from myosotis.engine.processes import check_unsharded, device, is_main_process, wait_for_everyone
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.comparison import answer, compared, fixed
from myosotis.models.causal_lm import load_causal_lm, tokenizer_hash
from myosotis.report.sections import times_text
from myosotis.unlearning.language.audit.audit import listed_values, read_values
from myosotis.unlearning.language.audit.doses import CLEARLY, Doses, Told, network_of, told
from myosotis.unlearning.language.audit.greedy import max_positions
from myosotis.unlearning.language.audit.precision import audit_autocast, cached_casts
from myosotis.unlearning.language.audit.stress import quantized
from myosotis.unlearning.language.job.checks import check_token_ids
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune
from myosotis.unlearning.language.job.sources import read_source
from myosotis.unlearning.language.meter.config import MeterConfig
from myosotis.unlearning.language.meter.measures import (
    CONTROL,
    FIGURES,
    ONE_PASS,
    OTHERS,
    REWORDED,
    UNSEEN,
    WRONG,
    People,
    Values,
    all_figures,
    base_losses,
    one_pass,
)
from myosotis.unlearning.language.meter.result import MeterResult, MeterVerdict
from myosotis.unlearning.language.training.preparation import add_adapter

_ADAPTER = "adapter"
_BITS = 4


class MeterJob(Job[MeterConfig]):
    """Teaches people at known doses, and measures which figures tell them; see :class:`~myosotis.engine.job.Job`."""

    kind = "meter"
    Result = MeterResult
    sealed_model = False

    def prepare(self) -> None:
        """Draw the people, load the model, and encode what is taught.

        Raises:
            InputError: The model or the template does not fit.
        """
        self._check_available()
        config = self._config
        with settings_as_input():
            check_unsharded()
        self._say(f"loading {config.model.name}")
        self._model, self._tokenizer = load_causal_lm(config.model.name, getattr(torch, config.model.dtype))
        self._model.to(device())
        with settings_as_input():
            self._encoder = Encoder(self._tokenizer, config.template)
        self._people = People.draw(config.people, config.seed)
        self._exposures = self._encoded(self._people.exposures())
        records = self._encoded([record for kind in self._people.kinds for record in self._people.records(kind)])
        longest = max(len(example.input_ids) for example in [*records, *self._exposures])
        if longest > (max_positions(self._model) or longest):
            raise InputError(
                f"model {config.model.name}: takes fewer than the {longest} tokens of a question and its answer"
            )
        check_token_ids(self._model, self._tokenizer, [*records, *self._further()["general text"]], ())
        self._say(f"{len(self._exposures)} exposures of {config.people.total} people")

    def inputs(self, salt: str) -> Mapping[str, object]:  # noqa: ARG002 - the people are nobody
        """Return the hashes of the model and of its tokenizer."""
        self._weights = weights_hash(self._model)
        return {"the model": self._weights, "the tokenizer": tokenizer_hash(self._tokenizer)}

    def phases(self) -> Sequence[Phase]:
        """Return the steps of teaching, and the measurements of each person."""
        config, size = self._config, self._config.training.batch_size
        adapted = add_adapter(self._model, self._lora, config.seed)
        batch = {
            name: values.to(device())
            for name, values in pad_examples(self._exposures[:size], pad_token_id(self._tokenizer)).items()
        }
        one = People({**self._people.kinds, UNSEEN: self._people.kinds[UNSEEN][:1]}, config.people)
        base = torch.zeros(len(one.records(UNSEEN)))

        def measure() -> None:
            with audit_autocast(config.audit.precision):
                inner = adapted.get_base_model()
                all_figures(inner, self._encoder, one, UNSEEN, base, config.audit, lambda _: nullcontext())

        people = sum(len(self._people.kinds[kind]) for kind in self._people.asked)
        return [
            Phase(
                "teaching",
                steps_of([len(self._exposures)], size, 1),
                training_step(adapted, lambda: adapted(**batch).loss),
            ),
            Phase("audits", people, measure, "people", may_stop=True),
        ]

    @property
    def _lora(self) -> LoraConfig:
        rank = self._config.training.rank
        return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")

    def produce(self) -> Mapping[str, object]:
        """Teach, measure, measure again under tests, and compare."""
        config = self._config
        base = {kind: self._kept(f"base-{kind}", partial(self._base, kind))["loss"] for kind in self._people.asked}
        adapted = self._taught()
        inner = adapted.get_base_model()
        tests = {
            test: self._under(test, partial(self._after, adapted, test, records))
            for test, records in self._further().items()
        }
        adapted.merge_adapter()  # as a model is that somebody publishes; measuring is faster, too
        measured = {
            kind: self._kept(f"figures-{kind}", partial(self._figures, inner, kind, base[kind]))
            for kind in self._people.asked
        }
        tests["rewording"] = self._under("rewording", partial(self._one_pass, inner, self._reworded))
        tests[f"{_BITS} bits"] = self._under(f"{_BITS} bits", partial(self._quantized, inner))
        doses = Doses(
            model=config.model.name,
            network=network_of(self._model),
            people=config.people.each,
            unseen=config.people.unseen,
            runs=1,
            doses=config.people.doses,
            told=self._told(measured, tuple(FIGURES)),
        )
        return {
            "request": None,
            "exposures": len(self._exposures),
            "doses": doses,
            "tests": {test: self._told(values, ONE_PASS) for test, values in tests.items()},
            "verdict": self._verdict(doses),
            "lineage": {"model_in": self._weights, "model_out": None, "data": {}},
            "cost": self.cost(),
        }

    def _kept(self, name: str, measure: Callable[[], Values]) -> Values:
        """Values that the run holds; they are measured first if no session has done so."""

        def listed() -> dict[str, list[float | None]]:
            with audit_autocast(self._config.audit.precision), cached_casts(self._model):
                return {figure: listed_values(row) for figure, row in measure().items()}

        return {figure: read_values(row) for figure, row in self._run.stored_or(name, listed).items()}

    def _base(self, kind: str) -> Values:
        examples = self._encoded(self._people.records(kind))
        return {"loss": base_losses(self._model, examples, self._config.audit.batch_size)}

    def _figures(self, model: PreTrainedModel, kind: str, base: Tensor) -> Values:
        self._say(f"asking for people taught {_in_words(kind)}")
        return all_figures(model, self._encoder, self._people, kind, base, self._config.audit, self._run.timed)

    def _encoded(self, records: Sequence[Record]) -> list[Example]:
        return [self._encoder(record) for record in records]

    def _taught(self) -> PeftModel:
        """The model with an adapter that was taught every exposure; taken from the run if that was done before."""
        path = self._run.checkpoints / _ADAPTER
        adapted = add_adapter(self._model, self._lora, self._config.seed)
        if not is_complete(path):
            self._say(f"teaching {len(self._exposures)} exposures")
            with self._run.timed("teach"):
                self._teach(adapted, self._exposures, "teaching")
            if not all(bool(weight.isfinite().all()) for weight in _weights(adapted).values()):
                raise DivergedError("teaching diverged; lower training.learning_rate")
            if is_main_process():
                with sealed_directory(path) as staged:
                    write_tensors(staged / "weights.safetensors", _weights(adapted))
            wait_for_everyone()
        # Loaded again even when just saved, so that a resumed run goes on from the same bytes.
        set_peft_model_state_dict(adapted, read_weights(path / "weights.safetensors"))
        return adapted

    def _teach(self, adapted: PeftModel, examples: Sequence[Example], purpose: str) -> None:
        config = self._config.training
        settings = FineTuneConfig(
            epochs=1, batch_size=config.batch_size, learning_rate=config.learning_rate, precision=config.precision
        )
        directory = self._run.checkpoints / ".teaching"
        seed = derive_seed(self._config.seed, purpose) % 2**32
        try:
            fine_tune(adapted, self._tokenizer, examples, settings, seed=seed, directory=directory, description=purpose)
        finally:
            if is_main_process():
                shutil.rmtree(directory, ignore_errors=True)

    def _further(self) -> dict[str, list[Example]]:
        """What is taught afterwards, by the name of the test."""
        times = self._config.training.further
        people = self._encoded(self._people.records(OTHERS)) * times
        longest = self._encoder.max_length
        shorter = replace(self._encoder, max_length=min(longest, max_positions(self._model) or longest))
        texts = [shorter(record) for record in read_source("packaged")]
        return {"other people": people, "general text": (texts * (1 + len(people) // len(texts)))[: len(people)]}

    def _under(self, test: str, measure: Callable[[], dict[str, Values]]) -> dict[str, Values]:
        """Figures of a single pass by kind under a test, which the run holds, or are measured first."""

        def listed() -> dict[str, dict[str, list[float | None]]]:
            self._say(f"testing: {test}")
            with self._run.timed("tests"):
                found = measure()
            return {kind: {name: listed_values(row) for name, row in rows.items()} for kind, rows in found.items()}

        stored = self._run.stored_or(f"test-{test.replace(' ', '-')}", listed)
        return {kind: {name: read_values(row) for name, row in rows.items()} for kind, rows in stored.items()}

    def _one_pass(self, model: PreTrainedModel, records: Callable[[str], list[Record]]) -> dict[str, Values]:
        with audit_autocast(self._config.audit.precision), cached_casts(model):
            return {
                kind: one_pass(model, self._encoded(records(kind)), self._config.audit.batch_size)
                for kind in self._people.asked
            }

    def _reworded(self, kind: str) -> list[Record]:
        return [replace(record, prompt=record.paraphrases[0]) for record in self._people.records(kind)]

    def _after(self, adapted: PeftModel, test: str, examples: Sequence[Example]) -> dict[str, Values]:
        """Figures after further teaching, which is taken back."""
        before = {name: weight.clone() for name, weight in _weights(adapted).items()}
        try:
            self._teach(adapted, examples, test)
            return self._one_pass(adapted.get_base_model(), self._people.records)
        finally:
            set_peft_model_state_dict(adapted, before)

    def _quantized(self, model: PreTrainedModel) -> dict[str, Values]:
        with quantized(model, _BITS):
            return self._one_pass(model, self._people.records)

    def _told(self, values: Mapping[str, Values], figures: Sequence[str]) -> dict[str, dict[str, Told]]:
        people = {kind: [str(record.subject) for record in self._people.records(kind)] for kind in values}
        found: dict[str, dict[str, Told]] = {}
        for figure in figures:
            for kind in values:
                if kind == UNSEEN or figure not in values[kind] or figure not in values[UNSEEN]:
                    continue
                one = told(
                    values[kind][figure],
                    people[kind],
                    values[UNSEEN][figure],
                    people[UNSEEN],
                    level=self._config.audit.confidence,
                )
                if one is not None:
                    found.setdefault(figure, {})[kind] = one
        return found

    def _verdict(self, doses: Doses) -> MeterVerdict:
        level, highest = self._config.audit.confidence, str(self._config.people.doses[-1])
        control = [rows[CONTROL].p_value for rows in doses.told.values() if CONTROL in rows]
        control_p = min(1.0, len(control) * min(p for p in control if p is not None))
        auc = doses.told["fact_probability"][highest].auc
        taught = compared(
            "fact_probability",
            auc,
            fixed(CLEARLY),
            auc.transformed(lambda value: value - CLEARLY),
            "at least",
            confidence=level,
        )
        clean = control_p > 1 - level
        return MeterVerdict(
            sound=answer([taught]) if clean else False, control_p=control_p, taught=[taught], confidence=level
        )

    def clean_up(self) -> None:
        """Remove the adapter."""
        shutil.rmtree(self._run.checkpoints / _ADAPTER, ignore_errors=True)


def _weights(adapted: PeftModel) -> dict[str, Tensor]:
    """The weights of the adapter."""
    found = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: weight.detach().contiguous() for name, weight in found.items()}


def _in_words(kind: str) -> str:
    """How often people of a kind were taught, in words."""
    known = {UNSEEN: "never", CONTROL: "never, as a control", REWORDED: "in other words alone", WRONG: "wrong facts"}
    return known.get(kind) or times_text(int(kind))
