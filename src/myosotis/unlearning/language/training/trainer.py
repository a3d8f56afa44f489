"""The trainer of language-model unlearning: ``transformers.Trainer`` with forget and retain sides.

It is called as the trainers of TRL are. The constructor checks that method, settings and records go together, adds the
adapter, and computes once what the terms read of the model before unlearning. A step then takes a batch of both sides
(:mod:`~.pairing`), runs the model once on it (:mod:`~.forward_pass`), and hands the parts to the terms of the method
(:mod:`~.step_loss`), each of which gives a loss for every token or sequence.

    trainer = UnlearnTrainer(model, UnlearnConfig("out", epochs=8), forget, retain, tokenizer, method="npo")
    trainer.train()
    trainer.stop_reason

What must not change: a loss is a mean over the whole optimisation step, so that neither accumulation nor the number of
processes moves it; and :mod:`transformers` does what it can do better: devices, sharding, checkpoints, trackers.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from myosotis.data.encoding import Encoder, pad_token_id
from myosotis.engine.files import write_tensors
from myosotis.unlearning.language.adapters.fila import subtract_initial
from myosotis.unlearning.language.methods import Method, Sides
from myosotis.unlearning.language.methods.forward import evaluation_mode
from myosotis.unlearning.language.methods.projection import ProjectedGradients
from myosotis.unlearning.language.training.alternates import alternates_of
from myosotis.unlearning.language.training.checkpoints import (
    INITIAL_FACTORS,
    Outcome,
    SealedTrainer,
    StopReason,
    check_initial_factors,
    checkpoint_to_resume,
    unmeasured_epoch,
)
from myosotis.unlearning.language.training.fila_start import start_by_fila
from myosotis.unlearning.language.training.forward_pass import ForwardPass, Shifted
from myosotis.unlearning.language.training.guard import DivergenceGuard, mean_nll
from myosotis.unlearning.language.training.pairing import PairCollator, PairDataset, PairSampler
from myosotis.unlearning.language.training.precision import cast_back, upcast_trained, with_autocast
from myosotis.unlearning.language.training.preparation import (
    check_blocks,
    check_projection,
    check_sets,
    check_settings,
    check_shardable,
    check_something_to_forget,
    check_teacher,
    method_of,
    model_and_tokenizer,
    prepare_model,
)
from myosotis.unlearning.language.training.records import (
    TrainingRecords,
    encode_rows,
    forget_examples,
    tokens_to_forget,
)
from myosotis.unlearning.language.training.references import References
from myosotis.unlearning.language.training.refusals import REFUSALS
from myosotis.unlearning.language.training.selection import Selected, Selection
from myosotis.unlearning.language.training.sharding import sharded_training
from myosotis.unlearning.language.training.step_loss import StepLoss, total
from myosotis.unlearning.language.training.stopping import MEASURED, StopRule
from myosotis.unlearning.language.training.strangers import Strangers, replay_examples
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig
from myosotis.unlearning.language.training.weights import (
    Negation,
    check_untrained,
    copy_weights,
    set_weights,
    shards_of,
    trained_weights,
    whole_weights,
)

VETTED = 8
"""Records of either side that the guard looks at between steps."""


class UnlearnTrainer(SealedTrainer):
    """Unlearns a forget set while retaining a retain set; called as the trainers of TRL are.

    The loss of every term is a mean over its tokens or sequences in the whole optimisation step, over all micro-batches
    and processes: accumulation does not change the trajectory. References of the old model are computed once, before
    training; no copy of the model is kept. Weights in half precision are trained in float32 and rounded at the end.

    Args:
        model: A causal language model, or a name or directory that
            :func:`~myosotis.models.causal_lm.load_causal_lm` knows.
        args: The settings.
        forget_dataset: Rows with ``text``, ``prompt`` and ``response``, or ``messages``; or records, or examples.
        retain_dataset: The same; needed by methods with a retain term and by FILA's ratio.
        processing_class: The tokenizer; None only when ``model`` is a name.
        peft_config: A ``LoraConfig`` to train an adapter instead of all weights.
        method: A method with its settings, or the name of one with its defaults, instead of ``args.method``.
        refusals: Refusals for ``idk`` and ``dpo`` instead of the built-in ones.
        stop_rule: Rule that is measured after every epoch; training ends when it is satisfied.
        selection: Selection that is measured after every epoch; at the end the best weights are restored.
        initial_factors: The initial factors of an interrupted FILA run, to continue exactly that.
        teacher: A model that never saw the forget records, for methods that learn from one, as ``counterfactual`` with
            ``teacher="proxy"``; it is asked once and not kept.
        callbacks: Further callbacks of ``transformers``.

    Attributes:
        stop_reason: Why training ended, after :meth:`train`.
        selected_epoch: The epoch whose weights the selection took, after :meth:`train`.
        multiplier: The adapting weight of methods that have one, as ``pdu``.
        guard: The divergence guard; :attr:`divergence` says what it saw, if it stopped training.
        records: The examples of each side.
        references: What the terms read of the model before unlearning.
        replayed: Number of answers about strangers among the retain records.
        pair_sampler: Deals retain records to forget records.
        step_loss: The loss of a micro-batch, and the means of its terms.
        forward_pass: Runs the model on a batch.
        initial_factors: FILA's initial factors, for :func:`~myosotis.unlearning.language.save_delta_adapter`.

    Raises:
        ValueError: Settings exclude each other, there is no forget record, or a retain set is needed and missing.
    """

    def __init__(
        self,
        model: nn.Module | str,
        args: UnlearnConfig,
        forget_dataset: Sequence[Any],
        retain_dataset: Sequence[Any] | None = None,
        processing_class: Any = None,
        peft_config: LoraConfig | None = None,
        *,
        method: Method | str | None = None,
        refusals: Sequence[str] = REFUSALS,
        stop_rule: StopRule | None = None,
        selection: Selection | None = None,
        initial_factors: Mapping[str, Tensor] | None = None,
        teacher: Any = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        network, tokenizer = model_and_tokenizer(model, processing_class)
        self.method = method_of(method, args)
        check_sets(forget_dataset, retain_dataset, self.method, replays=args.replay_prompts > 0)
        adapts = peft_config is not None or isinstance(network, PeftModel)
        check_teacher(self.method, network, teacher)
        check_settings(args, self.method, adapts=adapts, watched=stop_rule is not None or selection is not None)
        encoder = Encoder(tokenizer, args.template, args.max_length, args.append_eos)
        rows = encode_rows(forget_dataset, encoder)
        retain = [row.example for row in encode_rows(retain_dataset or (), encoder)]
        check_shardable(network)
        network = prepare_model(network, args, peft_config)
        self._dtypes = upcast_trained(network, args.device)
        args = with_autocast(args, self._dtypes)
        check_projection(args, self.method)
        self.terms = self.method.terms()
        numbers = self.method.strangers
        self._strangers = None if numbers is None else Strangers.made(rows, encoder, numbers, args.seed, retain)
        tokens = tokens_to_forget(self.method, args.forget_tokens)
        forget = forget_examples([row.example for row in rows], tokens)
        check_something_to_forget(forget, self.terms)
        check_blocks(network, self.terms)
        if self.method.alternates == "generated" or args.replay_prompts:
            network.to(args.device)
        count = args.replay_prompts
        replay = replay_examples(network, encoder, rows, count, args.seed, retain) if count else []
        self.replayed = len(replay)
        alternate = alternates_of(self.method, network, encoder, rows, refusals, args.seed)
        self.records = TrainingRecords(forget, alternate, [*retain, *replay], pad_token_id(tokenizer))
        self.stop_rule, self.selection = stop_rule, selection
        self.stop_reason: StopReason = "epochs"
        # The losses are already means over the whole step.
        self.loss_is_scaled_for_ga = True
        super().__init__(
            model=network,
            args=args,
            train_dataset=PairDataset(len(forget)),
            data_collator=PairCollator(self.records),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self._set_up(initial_factors, teacher)

    def _set_up(self, initial_factors: Mapping[str, Tensor] | None, teacher: Any) -> None:
        """Make the parts of the trainer, and compute what depends on the model before training."""
        args, records = self.args, self.records
        self.selected_epoch: int | None = None
        self._selected: Selected | None = None
        self._negation: Negation | None = None
        self._vetted_at = -1
        self._gradients = ProjectedGradients()
        retain_count = len(records.retain) if self.method.reads("retain") else 0
        replayed = self.replayed if retain_count else 0
        self.pair_sampler = PairSampler.of_settings(args, len(records.forget), retain_count - replayed, replayed)
        max_nll = args.max_nll if args.max_nll is not None else 2 * math.log(self.model.config.vocab_size)
        self.guard = DivergenceGuard(max_nll, self.accelerator.gather)
        blocks = sorted({block for _, term in self.terms for block in term.blocks})
        self.forward_pass = ForwardPass(self.model, blocks, self.accelerator.autocast)
        self.references = References(
            self._forward, records, args.per_device_train_batch_size, strangers=self._strangers
        )
        self.step_loss = StepLoss(self.terms, self.method.dual, self.references, args.device)
        self.add_callback(_Hooks(self))
        if self.method.negation is not None:
            check_untrained(self.model)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            self.model.to(args.device)  # transformers leaves that to them, when training starts
        # The model is still unchanged: a fresh adapter has no effect, and FILA comes after.
        self.compute_references(teacher)
        self.initial_factors: dict[str, Tensor] | None = None
        if args.lora_init == "fila" and initial_factors is not None:
            self.initial_factors = dict(initial_factors)
            subtract_initial(self.model, initial_factors)
        elif args.lora_init == "fila":
            self.initial_factors = start_by_fila(self.model, records, args)

    def compute_references(self, teacher: Any = None) -> None:
        """Compute what the terms read of the present model, and of a teacher.

        Args:
            teacher: A model that never saw the forget records, for methods that learn from one; moved to the device of
                the training.
        """
        asked = None if teacher is None else partial(self._asked, teacher.to(self.args.device).eval())
        with evaluation_mode(self.model):
            self.references.compute(self.model, self.terms, self.pair_sampler, self.args, asked)

    def _forward(self, batch: dict[str, Any]) -> Shifted:
        return self.forward_pass(self.model, self._prepare_inputs(batch))

    def _asked(self, teacher: Any, batch: dict[str, Any]) -> Shifted:
        return ForwardPass(teacher, (), self.accelerator.autocast)(teacher, self._prepare_inputs(batch))

    @property
    def multiplier(self) -> float | None:
        """The adapting weight of methods that have one."""
        return self.step_loss.dual.multiplier

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **options: Any) -> Any:
        """Train; afterwards :attr:`stop_reason` says why it ended.

        Args:
            resume_from_checkpoint: A checkpoint; True for the newest complete one of ``output_dir``.
            options: Options of ``transformers.Trainer.train``.

        Raises:
            ValueError: There is no checkpoint, or it belongs to other initial factors of FILA than this trainer's.
        """
        upcast_trained(self.model, self.args.device)
        self._selected = self._negation = None
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, self.args.output_dir)
        if checkpoint is not None and self._ended_at(checkpoint):
            outcome = TrainOutput(self.state.global_step, float("nan"), {})
            self._settle()
        else:
            with sharded_training(self):
                start = None if checkpoint is None else str(checkpoint)
                outcome = super().train(resume_from_checkpoint=start, **options)
                self._settle()
        # Mixed precision wraps the model's forward; the trained model is measured, and used, without it.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        cast_back(self.model, self._dtypes)
        return outcome

    def _settle(self) -> None:
        """Leave the weights that the training is to end with: the selected ones, or those with the negated change."""
        if self._selected is not None:
            self.selected_epoch = self._selected.epoch
            set_weights(self.model, self._selected.weights)
        if self._negation is not None:
            self._negation.apply(self.model)

    def _remember_start(self) -> None:
        """Copy the weights that training starts from, for a method that negates their change."""
        if self.method.negation is not None and self._negation is None:
            self._negation = Negation(self.model, self.method.negation)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._remember_start()
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _ended_at(self, checkpoint: Path) -> bool:
        """Restore the state of a checkpoint; whether training had ended there, or should have."""
        check_initial_factors(checkpoint, self.initial_factors)
        outcome = Outcome.read(checkpoint)
        self.step_loss.dual.multiplier = outcome.multiplier
        self._selected = Selected.read(checkpoint)
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        ended = outcome.stop_reason != "epochs"
        epoch = None if self.stop_rule is None else unmeasured_epoch(state, MEASURED)
        if not ended and (self.stop_rule is None or epoch is None or epoch % self.stop_rule.every):
            return False
        self._load_from_checkpoint(str(checkpoint))
        self.stop_reason, self.guard.divergence = outcome.stop_reason, outcome.divergence
        if not ended and epoch is not None:
            # Written in the last step of an epoch, before the rule was consulted: it is now.
            state.epoch = epoch
            ended = self._consult_rule(epoch)
        if ended:
            self.state = state
        return ended

    def _consult_rule(self, epoch: int) -> bool:
        """Measure the stop rule and log it; whether training ends here."""
        rule = self.stop_rule
        if rule is None or epoch % rule.every:
            return False
        with self.accelerator.autocast():
            values = rule.measure(self.model)
        self.log(rule.means(values))
        if not self._of_main_process(float(rule.satisfied(values, epoch))):
            return False
        self.stop_reason = "forgotten"
        return True

    def _consult_selection(self, epoch: int) -> None:
        """Measure the selection, log it, and keep the weights if they are the best so far."""
        if self.selection is None or epoch % self.selection.every:
            return
        with self.accelerator.autocast():
            values = self.selection.measure(self.model)
        self.log(dict(values))
        score = self._of_main_process(values["selection_score"])
        if self._selected is None or score > self._selected.score:
            self._selected = Selected(score, epoch, copy_weights(self.model))

    def _shard_selected(self) -> None:
        """Keep this process's part of the weights that a checkpoint has selected."""
        if self._selected is not None:
            self._selected = replace(self._selected, weights=shards_of(self.model, self._selected.weights))

    def _of_main_process(self, value: float) -> float:
        """The main process's value: rounding must not let processes decide differently."""
        return float(broadcast(torch.tensor(value, device=self.args.device)))

    def _sum_over_processes(self, value: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(value, reduction="sum") if self.args.world_size > 1 else value
        return summed

    def _get_train_sampler(self, train_dataset: Any = None) -> PairSampler:  # noqa: ARG002
        return self.pair_sampler

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Return the micro-batches of a step and, by term, how many units all of them hold on all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, self._sum_over_processes(self.step_loss.count_units(batches, device))

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Do one micro-batch, unless the guard has stopped training."""
        if self.divergence is not None:
            return torch.zeros((), device=self.args.device)
        if self.method.projection is not None:
            return self._projected_step(model, self._prepare_inputs(inputs), num_items_in_batch)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Return the weighted sum of the terms, each a mean over the whole step."""
        shifted = self.forward_pass(model, inputs)
        sides = self.step_loss.sides(shifted, inputs)
        values = self.step_loss.weighted_values(sides, inputs, num_items_in_batch, training=self.model.training)
        loss = total(values, shifted.logits.new_zeros(()))
        if model.training:
            loss = self._guarded(loss, sides)
        # Gradients are averaged over processes, while the terms are sums of all of them already.
        loss = loss * self.accelerator.num_processes
        return (loss, {"logits": shifted.logits}) if return_outputs else loss

    def _projected_step(self, model: nn.Module, inputs: Mapping[str, Any], counts: Tensor | None) -> Tensor:
        """Do one micro-batch with separate gradients of forget and retain terms, projected at the end of the step."""
        model.train()
        parameters = list(trained_weights(self.model).values())
        distributed = self.accelerator.num_processes > 1
        with self.accelerator.no_sync(model) if distributed else nullcontext():
            sides = self.step_loss.sides(self.forward_pass(model, inputs), inputs)
            values = self.step_loss.weighted_values(sides, inputs, counts, training=True)
            forget, retain = (total(values, parameters[0].new_zeros(()), side) for side in ("forget", "retain"))
            loss = forget + retain
            sound = self._guarded(loss, sides) is loss
            self._gradients.add("forget", forget, parameters, retain_graph=True)
            self._gradients.add("retain", retain, parameters, retain_graph=False)
        if self.accelerator.sync_gradients and sound:
            for parameter, gradient in zip(parameters, self._gradients.finish(self._sum_over_processes), strict=True):
                parameter.grad = gradient
        return loss.detach() * int(self.accelerator.num_processes)

    @property
    def divergence(self) -> str | None:
        """What the guard saw, if it stopped training."""
        return self.guard.divergence

    def _guarded(self, loss: Tensor, sides: Sides) -> Tensor:
        """The loss; or one without gradient when the weights have diverged."""
        with torch.no_grad():
            nll = [mean_nll(side.logits, side.labels) for side in (sides.forget, sides.retain) if side is not None]
        if not self.guard.judge(loss.detach(), torch.stack(nll), f"a batch at step {self.state.global_step}"):
            # It still depends on the model's output: a backward pass that DDP and FSDP expect goes through all modules.
            return loss.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) * 0
        return loss

    @torch.no_grad()
    def vet(self) -> bool:
        """Measure the weights as they are now; keep them if they are sound, else go back to those kept last.

        Training calls it at the end of every epoch and before every checkpoint.
        """
        if self.divergence is not None or self._vetted_at == self.state.global_step:
            return self.divergence is None
        examples = [*self.records.forget[:VETTED], *self.records.retain[:VETTED]]
        batches = self.records.batches(examples, self.args.per_device_train_batch_size)
        with evaluation_mode(self.model):
            outputs = [self._forward(batch) for batch in batches]
            nll = torch.stack([mean_nll(output.logits, output.labels) for output in outputs])
        if self.guard.judge(nll.new_zeros(()), nll, f"the model after step {self.state.global_step}"):
            self._keep_weights()
        else:
            self._go_back()
        return self.divergence is None

    def _keep_weights(self) -> None:
        self.guard.keep(self.model)
        self._vetted_at = self.state.global_step

    def _go_back(self) -> None:
        self.guard.restore(self.model)
        self.stop_reason = "diverged"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean of every term since the last log beside the loss."""
        if "loss" in logs:
            logs.update(self.step_loss.means_since_last(self.state.global_step, self._sum_over_processes))
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.vet()
        super()._save_checkpoint(model, trial)

    def _save_beside(self, directory: Path) -> None:
        selected = self._selected
        if selected is not None:
            selected = replace(selected, weights=whole_weights(self.model, selected.weights))
        if self.args.should_save:
            if self.initial_factors is not None:
                write_tensors(directory / INITIAL_FACTORS, self.initial_factors)
            if selected is not None:
                selected.write(directory)
            Outcome(self.stop_reason, self.divergence, self.multiplier).write(directory)


class _Hooks(TrainerCallback):
    """The trainer's own callbacks."""

    def __init__(self, trainer: UnlearnTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._trainer.step_loss.begin(state.global_step)
        self._trainer._remember_start()
        self._trainer._shard_selected()
        self._trainer._keep_weights()
        # The checkpoint was written in the last step of an epoch, before the selection was measured.
        epoch = unmeasured_epoch(state, "selection_score")
        if epoch is not None:
            self._trainer._consult_selection(epoch)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Skipping batches on resume wraps the sampler so deep that the loader no longer finds it.
        self._trainer.pair_sampler.set_epoch(int((state.epoch or 0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._trainer.step_loss.dual.update(self._trainer._sum_over_processes)
        if self._trainer.divergence is not None:
            self._trainer._go_back()
            control.should_training_stop = True
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        epoch = round(state.epoch or 0)
        if not self._trainer.vet():
            control.should_training_stop = True
            return
        self._trainer._consult_selection(epoch)
        if self._trainer._consult_rule(epoch):
            control.should_training_stop = True
