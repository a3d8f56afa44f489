"""The whole job: load, teach if asked to, audit, unlearn, export, audit again, say what was found."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from myosotis.data.encoding import Encoder, Example, split_text
from myosotis.engine.checkpoint import is_complete, newest_complete, seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import DivergedError, InputError, SettingsError, settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import check_unsharded, device, is_main_process, processes, wait_for_everyone
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed
from myosotis.engine.tracking import check_trackers
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.adapters.export import save_delta_adapter
from myosotis.unlearning.language.audit.audit import (
    Audit,
    AuditSets,
    audit_model,
    measurable,
)
from myosotis.unlearning.language.audit.memorization import (
    Thresholds,
    calibrate_thresholds,
    check_lengths,
    measured_lengths,
)
from myosotis.unlearning.language.audit.verdict import VerdictSettings, judge, lengths_differ
from myosotis.unlearning.language.job.config import DatasetConfig, FileConfig, LanguageUnlearningConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune, quiet
from myosotis.unlearning.language.job.inputs import (
    Records,
    check_target_modules,
    check_token_ids,
    encode_records,
    read_records,
    split_requests,
)
from myosotis.unlearning.language.job.report import KIND
from myosotis.unlearning.language.job.suites import AuditSuites, read_suite_inputs
from myosotis.unlearning.language.job.trainer_settings import (
    EpochSaver,
    EventLogger,
    check_training,
    lora_config,
    trainer_settings,
)
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.training.checkpoints import initial_factors_of
from myosotis.unlearning.language.training.preparation import check_blocks
from myosotis.unlearning.language.training.records import EncodedRecord
from myosotis.unlearning.language.training.refusals import REFUSALS, refusal_records
from myosotis.unlearning.language.training.selection import Selection
from myosotis.unlearning.language.training.sequential import RequestOutcome, came_back, unlearn_sequential
from myosotis.unlearning.language.training.stopping import StopRule
from myosotis.unlearning.language.training.trainer import UnlearnTrainer


@dataclass(frozen=True)
class _Unlearned:
    """The model after training, without adapters, and how that went."""

    model: Any
    stop_reason: str
    divergence: str | None
    steps: int
    epochs: float | None
    trainable: int
    selected_epoch: int | None = None
    requests: tuple[RequestOutcome, ...] = ()
    came_back: tuple[int, ...] = ()


class LanguageUnlearningJob(Job[LanguageUnlearningConfig]):
    """One run of ``myosotis unlearn language``; see :class:`~myosotis.engine.job.Job`.

    The paths of its configuration are absolute, see :func:`~myosotis.unlearning.language.job.config.resolve_paths`.
    """

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        with settings_as_input():
            check_unsharded()
        check_trackers(config.training.trackers)
        self._check_available(self._inputs_given())
        self._records, self._shared = read_records(config)
        self._say(
            f"records: {len(self._records.forget)} to forget, {len(self._records.retain)} to retain and "
            f"{len(self._records.held_retain)} held out of the training, {len(self._records.unseen)} unseen, "
            f"{len(self._records.general)} of general text"
        )
        dtype = getattr(torch, config.model.dtype)
        self._say(f"loading {config.model.name}")
        self._model, self._tokenizer = load_causal_lm(config.model.name, dtype)
        if config.reference not in (None, "retrain"):
            self._reference, _ = load_causal_lm(str(config.reference), dtype)
        if config.lora is not None:
            check_target_modules(self._model, config.lora)
        data = config.data
        with settings_as_input(f"model {config.model.name}"):
            encoder = Encoder(self._tokenizer, data.template, data.max_length, data.append_eos)
        if data.split_texts:
            pieces = {
                name: [piece for record in getattr(self._records, name) for piece in split_text(record, encoder)]
                for name in vars(self._records)
            }
            self._records = Records(**pieces)
        examples = {name: encode_records(getattr(self._records, name), encoder, name) for name in vars(self._records)}
        self._selection = examples.pop("selection")
        self._sets = AuditSets(**examples)
        self._suites = AuditSuites(
            config.audit,
            self._tokenizer,
            encoder,
            self._records.forget,
            self._sets.forget,
            self._sets.held_retain or self._sets.retain,
            self._sets.unseen,
            read_suite_inputs(config.audit),
            config.seed,
        )
        self._check_examples()
        self._model.to(device())
        if config.reference not in (None, "retrain"):
            self._reference.to(device())

    def _inputs_given(self) -> list[str | None]:
        """Every file and directory that the job reads."""
        config = self._config
        sources = [getattr(config.data, name) for name in ("forget", "retain", "unseen", "general")]
        sources += config.audit.sources.values()
        places = [
            source.dataset
            if isinstance(source, DatasetConfig)
            else source.file
            if isinstance(source, FileConfig)
            else source
            for source in sources
        ]
        return [config.model.name, config.reference, *places]

    def _check_examples(self) -> None:
        """What can be said of the records before anything is written."""
        config, sets = self._config, self._sets
        every = [*self._selection, *(example for name in vars(sets) for example in getattr(sets, name))]
        longest = max(len(example.input_ids) for example in every)
        positions = getattr(self._model.config, "max_position_embeddings", None)
        if positions is not None and longest > positions:
            raise InputError(f"a record has {longest} tokens, the model takes {positions}; lower data.max_length")
        texts = [text for record in self._records.forget for text in (record.alternate or "", *record.paraphrases)]
        check_token_ids(
            self._model, self._tokenizer, every, [*texts, *(config.data.refusals or REFUSALS), *self._suites.texts()]
        )
        method = build_method(config.method.name, config.method.settings)
        if method.alternates is not None:
            refusal_records(self._records.forget, config.seed)
        check_blocks(self._model, method.terms())
        portions: list[list[int]] = [list(range(len(sets.forget)))]
        if config.data.requests is not None:
            portions = split_requests(self._records.forget, config.data.requests)
        with settings_as_input("training"):
            requests = [[sets.forget[place] for place in own] for own in portions]
            if config.data.replay:
                requests = [[one for part in requests[: number + 1] for one in part] for number in range(len(requests))]
            check_training(trainer_settings(config, self._path), self._model, requests, self._sets.retain)
        self._suites.check()
        if config.stop is not None:
            self._check_stop(requests)

    def _check_stop(self, requests: Sequence[Sequence[Example]]) -> None:
        """Refuse a stop rule that could not compare the forget records of each request with the unseen ones."""
        n, tolerance = self._config.audit.n, self._config.audit.length_tolerance
        for name, parts in (("forget", requests), ("unseen", [self._sets.unseen])):
            longest = [
                max(len(example.input_ids) - max(example.response_start, 1) for example in part) for part in parts
            ]
            if min(longest) < n:
                where = "" if len(parts) == 1 else " of some request"
                raise InputError(
                    f"stop: no {name} answer{where} has as many tokens as audit.n={n}; "
                    f"--set audit.n={min(3, *longest)} measures shorter ones"
                )
        unseen = measurable(self._sets.unseen, n)
        calibrated = measured_lengths(unseen.sequences, unseen.starts)
        with settings_as_input("stop"):
            for part in requests:
                own = measurable(part, n)
                lengths = measured_lengths(own.sequences, own.starts)
                check_lengths(lengths, (min(calibrated), max(calibrated)), tolerance)

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
        """
        config = self._config
        started = time.monotonic()
        run = self._open(config.seed, private=True)  # its checkpoints know what is forgotten
        lineage: dict[str, Any] = {
            "base": weights_hash(self._model),
            "data": {
                name: sorted(salted_fingerprint(record.content, run.salt) for record in getattr(self._records, name))
                for name in ("forget", "retain", "held_retain", "unseen", "selection")
                if getattr(self._records, name) or name in ("forget", "retain", "unseen")
            },
        }
        # Everything of a record that a figure depends on, not its words alone.
        inputs: dict[str, Any] = {
            f"the {name} set": sorted(salted_fingerprint(repr(record), run.salt) for record in rows)
            for name, rows in vars(self._records).items()
        }
        inputs["the rows of a suite"] = salted_fingerprint(repr(self._suites.inputs), run.salt)
        if config.reference not in (None, "retrain"):
            inputs["the reference"] = weights_hash(self._reference)
        if not run.finished:
            # Epochs and steps of a checkpoint count batches of all processes.
            inputs["the number of processes"] = processes()
        run.check_inputs({"the model": lineage["base"], **inputs})
        if self._finished_already(sealed_model=True):
            return run
        model = self._model
        if config.fine_tune is not None:
            self._model = None  # the base has served
            model = self._taught("target", [*self._sets.forget, *self._all_retained])
        model_in = weights_hash(model)
        if config.reference == "retrain":
            self._reference = self._taught("reference", self._all_retained)
        suites: dict[str, Any] = {}
        reference_nll = None
        if config.reference is not None:
            audits = {"reference": self._audit("reference", self._reference)}
            reference_nll = self._reference_nll()
            suites["reference"] = self._measure_suites("reference", self._reference, reference_nll)
            self._reference = None  # it has served
        else:
            audits = {}
        before = self._audit("before", model)
        suites["before"] = self._measure_suites("before", model, reference_nll)
        thresholds = self._thresholds(model)
        unlearned = self._unlearn(model, before, thresholds)
        model = unlearned.model
        after = self._audit("after", model)
        suites["after"] = self._measure_suites("after", model, reference_nll)
        order = ("before", "after", "reference")
        audits = {"before": before, "after": after, **audits}
        result = self._result(audits, thresholds, unlearned)
        result["suites"] = self._suites.summary({name: suites[name] for name in order if name in suites})
        result["lineage"] = {**lineage, "model_in": model_in, "model_out": weights_hash(model)}
        if self._show_samples and is_main_process():
            self._write_samples(audits)
        result["cost"] = {
            "seconds": self._seconds(),
            "last_session_seconds": time.monotonic() - started,
            "peak_memory_bytes": peak_memory(),
            "trainable_parameters": unlearned.trainable,
        }
        run.finish(result)
        if not config.keep_fine_tuned and is_main_process():
            for name in ("target", "reference"):
                shutil.rmtree(run.checkpoints / name, ignore_errors=True)
        if is_main_process():
            for place in run.checkpoints.glob("after-*"):
                shutil.rmtree(place, ignore_errors=True)
        return run

    # Phases ---------------------------------------------------------------------------------------------------------

    def _taught(self, name: str, examples: Sequence[Example]) -> Any:
        """The base model fine-tuned on examples; taken from the run if it was done before."""
        settings = self._config.fine_tune
        assert settings is not None  # noqa: S101 - the configuration has been checked
        place = self._run.checkpoints / name
        dtype = getattr(torch, self._config.model.dtype)
        if not is_complete(place):
            self._say(f"teaching the {name} model {len(examples)} records")
            model, _ = load_causal_lm(self._config.model.name, dtype)
            with self._timed(f"teach_{name}"):
                fine_tune(
                    model,
                    self._tokenizer,
                    examples,
                    settings,
                    seed=derive_seed(self._config.seed, "fine-tuning") % 2**32,
                    directory=self._run.checkpoints / ".trainer",
                    description=f"teaching the {name} model",
                )
            if not all(bool(value.isfinite().all()) for value in model.parameters()):
                raise DivergedError(f"teaching the {name} model diverged; lower fine_tune.learning_rate")
            self._save(model, self._run.checkpoints / f".{name}.partial", place)
        # Loaded again even when just made, so that a resumed run goes on from the same bytes.
        return load_causal_lm(str(place), dtype)[0].to(device())

    def _audit(self, name: str, model: Any) -> Audit:
        kept = self._run.kept(f"audit-{name}.json")
        if kept is not None and not self._show_samples:
            return Audit.read(kept)
        self._say(f"auditing the model {name}" if name != "reference" else "auditing the reference model")
        settings = self._config.audit
        with self._timed("audit"):
            audit = audit_model(
                model,
                self._tokenizer,
                self._sets,
                n=settings.n,
                further_n=settings.further_n,
                confidence=settings.confidence,
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
            )
        self._run.keep(f"audit-{name}.json", audit.told())
        return audit

    @property
    def _forget_rows(self) -> list[EncodedRecord]:
        return [EncodedRecord(*pair) for pair in zip(self._sets.forget, self._records.forget, strict=True)]

    @property
    def _all_retained(self) -> list[Example]:
        """What the model was taught and is to keep: what may be trained on, and what was held out of it."""
        return [*self._sets.retain, *self._sets.held_retain, *self._selection]

    def _reference_nll(self) -> list[list[float]] | None:
        if self._config.audit.membership is None:
            return None
        kept: list[list[float]] = self._kept_or("reference-nll", lambda: self._suites.reference_nll(self._reference))
        return kept

    def _measure_suites(self, name: str, model: Any, reference_nll: list[list[float]] | None) -> dict[str, Any]:
        def keep(suite: str, measure: Callable[[], Any]) -> Any:
            def timed() -> Any:
                self._say(f"{suite}: the model {name}" if name != "reference" else f"{suite}: the reference model")
                with self._timed(suite):
                    return measure()

            return self._kept_or(f"{suite}-{name}", timed)

        # A reference compared with itself would say nothing.
        return self._suites.measure(model, keep, reference_nll=None if name == "reference" else reference_nll)

    def _thresholds(self, model: Any) -> Thresholds | None:
        settings = self._config.audit
        unseen = measurable(self._sets.unseen, settings.n)
        if not unseen.places:
            return None
        kept = self._run.kept("thresholds.json")
        if kept is not None:
            return Thresholds(**{**kept, "lengths": tuple(kept["lengths"])})
        thresholds = calibrate_thresholds(
            model,
            unseen.sequences,
            settings.n,
            starts=unseen.starts,
            length_tolerance=settings.length_tolerance,
            batch_size=settings.batch_size,
        )
        self._run.keep("thresholds.json", asdict(thresholds))
        return thresholds

    def _stop_rule(self, before: Audit, thresholds: Thresholds | None, examples: Sequence[Example]) -> StopRule | None:
        """Measures forget records after every epoch where there are thresholds; stops only if that is asked for."""
        stop = self._config.stop
        forget = measurable(examples, self._config.audit.n)
        method = build_method(self._config.method.name, self._config.method.settings)
        if thresholds is None or not forget.places or method.negation is not None:
            return None
        facts = before.metrics["unseen"].get("fact_accuracy")
        has_facts = any(any(example.facts[1:]) for example in examples)
        wants_facts = facts is not None and has_facts and (stop is None or stop.facts)
        try:
            return StopRule(
                thresholds,
                forget.sequences,
                forget.starts,
                min_epochs=0 if stop is None else stop.min_epochs,
                every=1 if stop is None else stop.every,
                fact_examples=examples,
                fact_threshold=facts["mean"] if facts is not None and wants_facts else None,
                active=stop is not None,
            )
        except SettingsError as error:
            if stop is None:
                self._say(f"the forget set is not watched during training: {error}")
                return None
            raise InputError(f"stop: {error}") from None

    def _unlearn(self, model: Any, before: Audit, thresholds: Thresholds | None) -> _Unlearned:
        config = self._config
        method = build_method(config.method.name, config.method.settings)
        self._say(f"unlearning by {method.card.title}")
        directory = self._run.checkpoints / "unlearn"
        wait_for_everyone()
        if config.data.requests is not None:
            return self._unlearn_requests(model, before, thresholds, directory)
        with settings_as_input(), self._timed("initialise"):
            trainer = UnlearnTrainer(
                model,
                trainer_settings(config, directory),
                self._forget_rows,
                self._sets.retain,
                self._tokenizer,
                lora_config(config.lora),
                refusals=config.data.refusals or REFUSALS,
                stop_rule=self._stop_rule(before, thresholds, self._sets.forget),
                selection=self._selecting(before),
                initial_factors=initial_factors_of(newest_complete(directory)),
            )
        checkpoint = self._watch(trainer, directory)
        with self._timed("unlearn"):
            trainer.train(resume_from_checkpoint=checkpoint)
        trainer.model.eval()
        trainable = trainer.get_num_trainable_parameters()
        return _Unlearned(
            self._export(trainer, model),
            trainer.stop_reason,
            trainer.divergence,
            trainer.state.global_step,
            trainer.state.epoch,
            trainable,
            trainer.selected_epoch,
        )

    def _unlearn_requests(
        self, model: Any, before: Audit, thresholds: Thresholds | None, directory: Path
    ) -> _Unlearned:
        """Unlearn the forget set request by request; what is done already is taken from the run."""
        config = self._config
        assert config.data.requests is not None  # noqa: S101 - the caller has looked
        requests = split_requests(self._records.forget, config.data.requests)
        done = self._requests_done(len(requests))
        if is_main_process():
            # Later requests go on from a model that is made again, so their own checkpoints go, as their events do.
            for number in range(len(done) + 2, len(requests) + 1):
                shutil.rmtree(directory / f"request-{number}", ignore_errors=True)
        wait_for_everyone()
        if done:
            place = self._run.checkpoints / f"after-{len(done)}"
            model = load_causal_lm(str(place), getattr(torch, config.model.dtype))[0].to(device())

        def watch(number: int, trainer: UnlearnTrainer) -> None:
            self._say(f"request {number} of {len(requests)}")
            self._watch(trainer, directory / f"request-{number}", number)

        def keep(outcome: RequestOutcome, merged: Any) -> None:
            number = outcome.request
            place = self._run.checkpoints / f"after-{number}"
            self._save(merged, self._run.checkpoints / f".after-{number}.partial", place)
            self._run.keep(f"request-{number}.json", asdict(outcome))
            if is_main_process():
                shutil.rmtree(self._run.checkpoints / f"after-{number - 1}", ignore_errors=True)

        def rule(_: int, own: Sequence[Example]) -> StopRule | None:
            return self._stop_rule(before, thresholds, own)

        source = self._forget_rows
        with self._timed("unlearn"), settings_as_input():
            model, outcomes = unlearn_sequential(
                model,
                trainer_settings(config, directory),
                [[source[place] for place in places] for places in requests],
                self._sets.retain,
                self._tokenizer,
                lora_config(config.lora),
                replay=config.data.replay,
                stop_rule=rule,
                done=done,
                resume=True,
                on_trainer=watch,
                on_outcome=keep,
                refusals=config.data.refusals or REFUSALS,
            )
        model.eval()
        staged = self._run.path / ".model.partial"
        if is_main_process():
            shutil.rmtree(staged, ignore_errors=True)
        self._save(model, staged, self._run.path / "model")
        reasons = {outcome.stop_reason for outcome in outcomes}
        returned = came_back(model, outcomes, [[self._sets.forget[place] for place in own] for own in requests], rule)
        if returned:
            reasons.add("came_back")
        return _Unlearned(
            model,
            next(reason for reason in ("diverged", "epochs", "came_back", "forgotten") if reason in reasons),
            next((outcome.divergence for outcome in outcomes if outcome.divergence is not None), None),
            sum(outcome.steps for outcome in outcomes),
            sum(outcome.epochs for outcome in outcomes),
            outcomes[-1].trainable_parameters,
            requests=tuple(outcomes),
            came_back=tuple(returned),
        )

    def _requests_done(self, count: int) -> list[RequestOutcome]:
        """What the run holds of the requests so far; where the model after them is damaged, they are done again."""
        done = []
        for number in range(1, count + 1):
            kept = self._run.kept(f"request-{number}.json")
            if kept is None:
                break
            done.append(RequestOutcome(**{**kept, "measures": tuple(kept["measures"])}))
        whole = [number for number in range(len(done) + 1) if is_complete(self._run.checkpoints / f"after-{number}")]
        if done and len(done) not in whole:
            self._say(f"the model after request {len(done)} is damaged; it is made again from the one before")
        return done[: max(whole, default=0)]

    def _watch(self, trainer: UnlearnTrainer, directory: Path, request: int | None = None) -> Path | None:
        """Let a trainer log into the run and save after every so many epochs; return what it is to resume from."""
        quiet(trainer, "unlearning")
        checkpoint = newest_complete(directory)
        done = 0 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
        at = request or 1

        def stays(event: dict[str, Any]) -> bool:
            of = int(event.get("request", 1))
            return of < at or (of == at and int(event["step"]) <= done)

        self._run.rewind(stays)
        trainer.add_callback(EventLogger(self._run, {} if request is None else {"request": request}))
        trainer.add_callback(EpochSaver(self._config.training.save_every_epochs))
        return checkpoint

    def _selecting(self, before: Audit) -> Selection | None:
        settings = self._config.selection
        if settings is None:
            return None
        unseen = before.metrics["unseen"]
        level = unseen.get("fact_accuracy", unseen["token_accuracy"])["mean"]
        return Selection(self._sets.forget, self._selection, level, settings.criterion, settings.every)

    def _export(self, trainer: UnlearnTrainer, model: Any) -> Any:
        """Write model/, and adapter/ for the stock base; return the plain model."""
        staged = self._run.path / ".model.partial"
        if is_main_process():
            shutil.rmtree(staged, ignore_errors=True)
        if self._config.lora is not None:
            if is_main_process():
                save_delta_adapter(trainer.model, staged / "adapter", trainer.initial_factors)
            model = trainer.model.merge_and_unload()
        self._save(model, staged, self._run.path / "model")
        return model.eval()

    def _save(self, model: Any, staged: Path, place: Path) -> None:
        """Write a model beside its place and rename it; the main process does."""
        if is_main_process():
            model.save_pretrained(staged)
            self._tokenizer.save_pretrained(staged)
            seal(staged, place)
        wait_for_everyone()

    def _result(self, audits: dict[str, Audit], thresholds: Thresholds | None, unlearned: _Unlearned) -> dict[str, Any]:
        settings = self._config.audit
        verdict = judge(
            audits["before"],
            audits["after"],
            self._sets,
            VerdictSettings(
                settings.confidence, settings.margin, settings.kept_share, settings.perplexity_ratio_ceiling
            ),
            reference=audits.get("reference"),
            incomparable=None if thresholds is None else self._lengths_differ(thresholds),
            retain_given=bool(self._all_retained),
        )
        return {
            "kind": KIND,
            "name": self._config.name,
            "method": self._config.method.name,
            "seed": self._config.seed,
            "verdict": verdict,
            "metrics": {name: audit.metrics for name, audit in audits.items()},
            "thresholds": None if thresholds is None else asdict(thresholds),
            "training": {
                "stop_reason": unlearned.stop_reason,
                "divergence": unlearned.divergence,
                "steps": unlearned.steps,
                "epochs": unlearned.epochs,
                "selected_epoch": unlearned.selected_epoch,
                "came_back": list(unlearned.came_back),
            },
            "requests": [asdict(outcome) for outcome in unlearned.requests],
            "records": {name: len(getattr(self._records, name)) for name in vars(self._records)},
            "shared": {name: asdict(common) for name, common in self._shared.items()},
        }

    def _lengths_differ(self, thresholds: Thresholds) -> str | None:
        places = measurable(self._sets.forget, thresholds.n).places
        return lengths_differ([self._sets.forget[place] for place in places], thresholds)

    def _write_samples(self, audits: dict[str, Audit]) -> None:
        rows = [
            {
                "prompt": record.prompt or "\n".join(message["content"] for message in record.messages[:-1]),
                "truth": record.response or record.text or record.messages[-1]["content"],
                **{name: audit.answers[place] for name, audit in audits.items()},
            }
            for place, record in enumerate(self._records.forget)
        ]
        write_json(self._run.path / "samples.json", rows, private=True)
