"""The unlearning phase: one training, or one for each request, and the export of the model."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from myosotis.data.encoding import Example
from myosotis.engine.checkpoint import is_complete, newest_complete, seal
from myosotis.engine.errors import InputError, SettingsError, settings_as_input
from myosotis.engine.processes import is_main_process, wait_for_everyone
from myosotis.unlearning.language.adapters.export import bare_base, merged_dequantized, save_delta_adapter, save_packed
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.forgotten import level_of, out_of_range
from myosotis.unlearning.language.audit.memorization import Thresholds
from myosotis.unlearning.language.audit.settings import STOP_FIGURES
from myosotis.unlearning.language.job.callbacks import EpochSaver, EventLogger, quiet
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.inputs import split_requests
from myosotis.unlearning.language.job.teaching import ignorant_teacher
from myosotis.unlearning.language.job.trainer_settings import lora_config, trainer_settings
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.training.checkpoints import initial_factors_of
from myosotis.unlearning.language.training.refusals import REFUSALS
from myosotis.unlearning.language.training.selection import Selection
from myosotis.unlearning.language.training.sequential import RequestOutcome, came_back, unlearn_sequential
from myosotis.unlearning.language.training.stopping import StopRule
from myosotis.unlearning.language.training.trainer import UnlearnTrainer

_WATCHED = 5
"""Measurements of the forget records during a training that is not to stop by them."""


@dataclass(frozen=True)
class Unlearned:
    """The model after training, without adapters, and how the training went.

    Attributes:
        model: The model.
        stop_reason: Why training ended.
        divergence: What the divergence guard saw, if it stopped training.
        steps: Optimisation steps.
        epochs: Epochs.
        trainable: Number of trained parameters.
        selected_epoch: Epoch whose weights the selection took.
        requests: Outcome of every request, where there were several.
        came_back: Requests that are known better in the end than right after each was unlearned.
    """

    model: Any
    stop_reason: str
    divergence: str | None
    steps: int
    epochs: float | None
    trainable: int
    selected_epoch: int | None = None
    requests: tuple[RequestOutcome, ...] = ()
    came_back: tuple[int, ...] = ()


class Unlearning:
    """Unlearns the forget set of a job, all at once or request by request; goes on where the run was interrupted.

    Args:
        context: The context of the job.
        before: Audit of the model before unlearning.
        thresholds: Level of unseen records; None where it could not be measured.
    """

    def __init__(self, context: JobContext, before: Audit, thresholds: Thresholds | None) -> None:
        self._context = context
        self._before = before
        self._thresholds = thresholds
        self._method = build_method(context.config.method.name, context.config.method.settings)
        self._directory = context.run.checkpoints / "unlearn"

    def unlearn(self, model: Any) -> Unlearned:
        """Return the model without the forget set, written to ``model/`` of the run.

        Args:
            model: The model before unlearning; changed in place.
        """
        self._context.say(f"unlearning with {self._method.card.title}")
        wait_for_everyone()
        requests = self._context.config.data.requests
        if requests is None:
            return self._unlearn_at_once(model)
        return self._unlearn_requests(model, split_requests(self._context.inputs.records.forget, requests))

    def _unlearn_at_once(self, model: Any) -> Unlearned:
        context, config = self._context, self._context.config
        teacher = ignorant_teacher(context)
        with settings_as_input(), context.run.timed("initialise"):
            trainer = UnlearnTrainer(
                model,
                trainer_settings(config, self._directory),
                context.inputs.forget_rows,
                context.inputs.sets.retain,
                context.inputs.tokenizer,
                lora_config(config.lora),
                refusals=config.data.refusals or REFUSALS,
                stop_rule=self._stop_rule(context.inputs.sets.forget),
                selection=self._selection(),
                initial_factors=initial_factors_of(newest_complete(self._directory)),
                teacher=teacher,
            )
        del teacher  # asked once; its memory is for the training
        checkpoint = self._watch(trainer, self._directory)
        with context.run.timed("unlearn"):
            trainer.train(resume_from_checkpoint=checkpoint)
        trainer.model.eval()
        trainable = trainer.get_num_trainable_parameters()
        return Unlearned(
            self._export(trainer, model),
            trainer.stop_reason,
            trainer.divergence,
            trainer.state.global_step,
            trainer.state.epoch,
            trainable,
            trainer.selected_epoch,
        )

    def _stop_rule(self, examples: Sequence[Example]) -> StopRule | None:
        """Measures forget records between epochs where there are unseen ones; stops only if that is asked for."""
        context, stop = self._context, self._context.config.stop
        inputs, settings = context.inputs, context.config.audit
        level = level_of(self._before, inputs.audited)
        if level is None or self._method.negation is not None:
            return None
        number = {example: index for index, example in enumerate(inputs.sets.forget)}
        rows = [number[example] for example in examples]
        verdict = settings.verdict
        if stop is not None and stop.margin is not None:
            verdict = replace(verdict, margin=stop.margin)
        try:
            return StopRule(
                examples,
                {name: values[rows] for name, values in self._before.values["forget"].items()},
                level,
                verdict,
                STOP_FIGURES if stop is None else stop.figures,
                settings.n,
                inputs.prefixes["forget"],
                None if self._thresholds is None else out_of_range(examples, self._thresholds),
                min_epochs=0 if stop is None else stop.min_epochs,
                every=max(context.config.training.epochs // _WATCHED, 1) if stop is None else stop.every,
                active=stop is not None,
            )
        except SettingsError as error:
            raise InputError(f"stop: {error}") from None

    def _selection(self) -> Selection | None:
        settings, inputs = self._context.config.selection, self._context.inputs
        if settings is None:
            return None
        forget, unseen = (self._before.metrics[split] for split in ("forget", "unseen"))
        name = "fact_accuracy" if "fact_accuracy" in unseen else "token_accuracy"
        level = unseen[name]["mean"]
        margin = self._context.config.audit.margin * max(forget[name]["mean"] - level, 0.0)
        return Selection(inputs.sets.forget, inputs.selection, level, settings.criterion, settings.every, margin)

    def _watch(self, trainer: UnlearnTrainer, directory: Path, request: int | None = None) -> Path | None:
        """Let a trainer log into the run and save checkpoints; return the checkpoint that it is to resume from."""
        run, asked = self._context.run, self._context.config.training.replay_prompts
        if asked:
            self._context.say(
                f"replay: {trainer.replayed} of {asked} answers about strangers; others tell what is to be forgotten"
            )
        quiet(trainer, "unlearning")
        checkpoint = newest_complete(directory)
        done = 0 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
        current = request or 1

        def precedes(event: dict[str, Any]) -> bool:
            number = int(event.get("request", 1))
            return number < current or (number == current and int(event["step"]) <= done)

        run.rewind(precedes)
        trainer.add_callback(EventLogger(run, {} if request is None else {"request": request}))
        trainer.add_callback(EpochSaver(self._context.config.checkpoint_every))
        return checkpoint

    def _unlearn_requests(self, model: Any, requests: Sequence[Sequence[int]]) -> Unlearned:
        """Unlearn the forget set request by request; requests that the run has done are not done again."""
        context, config, inputs = self._context, self._context.config, self._context.inputs
        done = self._requests_done(len(requests))
        if is_main_process():
            # Later requests go on from a model that is made again, so their checkpoints go, as their events do.
            for number in range(len(done) + 2, len(requests) + 1):
                shutil.rmtree(self._directory / f"request-{number}", ignore_errors=True)
        wait_for_everyone()
        if done:
            model = context.load(context.run.checkpoints / f"after-{len(done)}")

        def watch(number: int, trainer: UnlearnTrainer) -> None:
            context.say(f"request {number} of {len(requests)}")
            self._watch(trainer, self._directory / f"request-{number}", number)

        rows, teacher = inputs.forget_rows, ignorant_teacher(context)
        with context.run.timed("unlearn"), settings_as_input():
            model, outcomes = unlearn_sequential(
                model,
                trainer_settings(config, self._directory),
                [[rows[index] for index in request] for request in requests],
                inputs.sets.retain,
                inputs.tokenizer,
                lora_config(config.lora),
                replay=config.data.replay,
                stop_rule=lambda _, examples: self._stop_rule(examples),
                done=done,
                resume=True,
                on_trainer=watch,
                on_outcome=self._store_request,
                refusals=config.data.refusals or REFUSALS,
                teacher=teacher,
            )
        model.eval()
        context.save(model, self._staging_directory(), context.run.path / "model")
        returned = came_back(outcomes, [self._measures_before(request) for request in requests], config.audit.margin)
        return _summary(model, outcomes, returned)

    def _measures_before(self, request: Sequence[int]) -> dict[str, float]:
        """What the model knew of a request before the first one was unlearned."""
        values = self._before.values["forget"]["probability"]
        return {"probability": values[list(request)].mean().item()}

    def _store_request(self, outcome: RequestOutcome, model: Any) -> None:
        """Write the model and the outcome after a request into the run; the model before it is no longer needed."""
        run, number = self._context.run, outcome.request
        self._context.save(model, run.checkpoints / f".after-{number}.partial", run.checkpoints / f"after-{number}")
        run.keep(f"request-{number}.json", outcome.model_dump())
        if is_main_process():
            shutil.rmtree(run.checkpoints / f"after-{number - 1}", ignore_errors=True)

    def _requests_done(self, count: int) -> list[RequestOutcome]:
        """The outcomes that the run holds; where the model after the last of them is damaged, it is done again."""
        run = self._context.run
        done = []
        for number in range(1, count + 1):
            stored = run.kept(f"request-{number}.json")
            if stored is None:
                break
            done.append(RequestOutcome.model_validate(stored))
        complete = [number for number in range(len(done) + 1) if is_complete(run.checkpoints / f"after-{number}")]
        if done and len(done) not in complete:
            self._context.say(f"the model after request {len(done)} is damaged; it is recomputed from the previous one")
        return done[: max(complete, default=0)]

    def _export(self, trainer: UnlearnTrainer, model: Any) -> Any:
        """Write ``model/``, and ``adapter/`` for the stock base; return the model without its adapter."""
        staged, context = self._staging_directory(), self._context
        if context.config.model.quantization is not None:
            return self._export_packed(trainer, staged)
        if context.config.lora is not None:
            if is_main_process():
                save_delta_adapter(trainer.model, staged / "adapter", trainer.initial_factors)
            model = trainer.model.merge_and_unload()
        context.save(model, staged, context.run.path / "model")
        return model.eval()

    def _export_packed(self, trainer: UnlearnTrainer, staged: Path) -> Any:
        """Write ``model/`` of a 4-bit base: dequantised and merged on request, else packed beside its adapter."""
        context, path = self._context, self._context.run.path / "model"
        lora = context.config.lora
        if lora is not None and lora.merge_dequantized:
            if is_main_process():
                save_delta_adapter(trainer.model, staged / "adapter", trainer.initial_factors)
            model = merged_dequantized(trainer.model)
            context.save(model, staged, path)
            return model
        if is_main_process():
            base = save_packed(trainer.model, context.inputs.tokenizer, staged, trainer.initial_factors)
            seal(staged, path)
        else:
            base = bare_base(trainer.model)
        wait_for_everyone()
        # What is audited and hashed is what was written.
        base.load_adapter(str(path))
        return base.eval()

    def _staging_directory(self) -> Path:
        staged = self._context.run.path / ".model.partial"
        if is_main_process():
            shutil.rmtree(staged, ignore_errors=True)
        return staged


def _summary(model: Any, outcomes: Sequence[RequestOutcome], returned: Sequence[int]) -> Unlearned:
    """The outcome of all requests together."""
    reasons = {outcome.stop_reason for outcome in outcomes} | ({"came_back"} if returned else set())
    return Unlearned(
        model,
        next(reason for reason in ("diverged", "epochs", "came_back", "forgotten") if reason in reasons),
        next((outcome.divergence for outcome in outcomes if outcome.divergence is not None), None),
        sum(outcome.steps for outcome in outcomes),
        sum(outcome.epochs for outcome in outcomes),
        outcomes[-1].trainable_parameters,
        requests=tuple(outcomes),
        came_back=tuple(returned),
    )
