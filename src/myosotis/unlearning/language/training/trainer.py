"""The trainer of language-model unlearning: ``transformers.Trainer`` with forget and retain sides."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import broadcast
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from myosotis.data.encoding import IGNORED, Encoder, Example, only_facts, pad_examples, pad_token_id
from myosotis.data.rows import to_examples, to_records
from myosotis.engine.checkpoint import newest_complete, numbered_checkpoints, seal
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import write_json, write_tensors
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.adapters.fila import apply_fila, lora_layers, refuse_tied_layers, subtract_initial
from myosotis.unlearning.language.adapters.fisher import fisher_information, fisher_row_sums
from myosotis.unlearning.language.methods import Method, Side, Sides, Term, build_method
from myosotis.unlearning.language.methods.forward import (
    evaluation_mode,
    labelled_first,
    labelled_logits,
    takes_positions,
)
from myosotis.unlearning.language.methods.projection import ProjectedGradients
from myosotis.unlearning.language.methods.term import SideName, WeightedTerm, count_units
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.alternates import alternate_examples
from myosotis.unlearning.language.training.guard import DivergenceGuard
from myosotis.unlearning.language.training.pairing import PairCollator, PairDataset, PairSampler
from myosotis.unlearning.language.training.precision import cast_back, upcast_trained, with_autocast
from myosotis.unlearning.language.training.preparation import (
    add_adapter,
    check_blocks,
    check_something_to_forget,
    disable_dropout,
    freeze_all_but,
)
from myosotis.unlearning.language.training.references import (
    References,
    Shifted,
    check_reference_size,
    dealt_records,
    reference_needs,
)
from myosotis.unlearning.language.training.refusals import REFUSALS, refusal_records
from myosotis.unlearning.language.training.selection import Selected, Selection
from myosotis.unlearning.language.training.stopping import StopRule
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig

_OUTCOME = "unlearn_outcome.json"
_VETTED = 8  # records of either side that the guard looks at between steps

INITIAL_FACTORS = "fila_initial.safetensors"
"""The file of a checkpoint that holds the initial factors of FILA."""


def initial_factors_of(checkpoint: Path | None) -> dict[str, Tensor] | None:
    """Return FILA's initial factors from a checkpoint; None where there is none or it was not FILA."""
    if checkpoint is None or not (checkpoint / INITIAL_FACTORS).is_file():
        return None
    return dict(load_file(checkpoint / INITIAL_FACTORS))


StopReason = Literal["epochs", "forgotten", "diverged"]


class UnlearnTrainer(Trainer):
    """Unlearns a forget set, holding on to a retain set; called as the trainers of TRL are.

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
        stop_rule: Measured after every epoch; training ends when it is satisfied.
        selection: Measured after every epoch; at the end the weights of the best one are taken.
        initial_factors: The initial factors of an interrupted FILA run, to continue exactly that.
        callbacks: Further callbacks of ``transformers``.

    Attributes:
        stop_reason: Why training ended, after :meth:`train`.
        selected_epoch: The epoch whose weights the selection took, after :meth:`train`.
        multiplier: The adapting weight of methods that have one, as ``pdu``.
        guard: The divergence guard; :attr:`divergence` says what it saw, if it stopped training.
        initial_factors: FILA's initial factors, for :func:`~myosotis.unlearning.language.save_delta_adapter`.

    Raises:
        ValueError: Settings that exclude each other, no forget record, or a retain set that is needed and missing.
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
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        network: Any = model
        if isinstance(model, str):
            network, loaded = load_causal_lm(model)
            processing_class = processing_class or loaded
        if processing_class is None:
            raise SettingsError("processing_class, the tokenizer, is missing")
        self.method = _method_of(method, args)
        self.terms: list[WeightedTerm] = self.method.terms()
        _check_sets(forget_dataset, retain_dataset, self.method)
        if args.lora_init == "fila" and peft_config is None and not isinstance(network, PeftModel):
            raise SettingsError("lora_init='fila' needs a peft_config: FILA initialises low-rank adapters")
        watched = stop_rule is not None or selection is not None
        if self.method.negation is not None and (watched or args.lora_init == "fila"):
            raise SettingsError(
                f"{self.method.card.name} negates the change of the weights once training has ended: no stop rule or "
                "selection can watch it, and it needs adapters that start at nothing (lora_init='default')"
            )
        if args.trainable_parameters is not None and (peft_config is not None or isinstance(network, PeftModel)):
            raise SettingsError("trainable_parameters chooses among all weights; an adapter has target_modules instead")
        encoder = Encoder(processing_class, args.template, args.max_length, args.append_eos)
        whole = to_examples(forget_dataset, encoder)
        self._forget = [only_facts(example) for example in whole] if args.forget_tokens == "facts" else whole
        self._retain = to_examples(retain_dataset or (), encoder)
        if peft_config is not None:
            network = add_adapter(network, peft_config, args.seed)
        if isinstance(network, PeftModel):
            refuse_tied_layers(network)
        if args.trainable_parameters is not None:
            freeze_all_but(network, args.trainable_parameters)
        self._dtypes = upcast_trained(network, args.device)
        args = with_autocast(args, self._dtypes)
        if self.method.projection is not None and args.fp16:
            raise SettingsError("projection works on whole gradients: not with fp16, nor with all weights in float16")
        if args.disable_dropout:
            disable_dropout(network)
        if args.activation_checkpointing and isinstance(network, PeftModel):
            # Otherwise reentrant checkpointing gives the adapters no gradient, and says nothing.
            network.enable_input_require_grads()
        check_something_to_forget(self._forget, self.terms)
        self._blocks = sorted({block for _, term in self.terms for block in term.blocks})
        check_blocks(network, self.terms)
        self._alternate: list[Example] = []
        if self.method.alternates == "refusals":
            answers = refusal_records(to_records(forget_dataset), args.seed, refusals)
            self._alternate = [encoder(row) for row in answers]
        elif self.method.alternates == "generated":
            network.to(args.device)
            self._alternate = alternate_examples(network, encoder, to_records(forget_dataset), args.seed)
        self._pad_id = pad_token_id(processing_class)
        self.stop_rule = stop_rule
        self.selection = selection
        self.selected_epoch: int | None = None
        self._selected: Selected | None = None
        self.stop_reason: StopReason = "epochs"
        self.initial_factors: dict[str, Tensor] | None = None
        self.multiplier = self.method.dual.start if self.method.dual is not None else None
        self._term_sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=args.device))
        self._dual_sum = torch.zeros((), device=args.device)
        self._gradients = ProjectedGradients()
        self._steps_logged = 0
        self._vetted_at = -1
        # The losses are already means over the whole step.
        self.loss_is_scaled_for_ga = True
        super().__init__(
            model=network,
            args=args,
            train_dataset=PairDataset(len(self._forget)),
            data_collator=PairCollator(self._forget, self._alternate, self._retain, self._pad_id),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        if self.method.projection is not None and self.is_deepspeed_enabled:
            raise SettingsError("projection works on whole gradients: not with DeepSpeed")
        self._slices_logits = takes_positions(self.model)
        self.pair_sampler = PairSampler.of_settings(
            args, len(self._forget), len(self._retain) if self.method.reads("retain") else 0
        )
        max_nll = args.max_nll if args.max_nll is not None else 2 * math.log(network.config.vocab_size)
        self.guard = DivergenceGuard(self.model, max_nll, self.accelerator.gather)
        self.add_callback(_Hooks(self))
        # The model still is what it was: a fresh adapter changes nothing, and FILA comes after.
        self.references = References(self._before, args.per_device_train_batch_size)
        self._remember()
        self._start: dict[str, Tensor] = {}
        if self.method.negation is not None:
            self._start = {name: p.detach().to("cpu", copy=True) for name, p in self.guard.trainable().items()}
            if any(".lora_B." in name and bool(p.any()) for name, p in self._start.items()):
                raise ValueError("the adapter is trained already, so its change cannot be told from its start")
        if args.lora_init == "fila":
            self._start_fila(initial_factors)

    # What is computed once, before training -------------------------------------------------------------------------

    def _remember(self) -> None:
        """Compute what the terms ask for of the model as it is now."""
        examples: dict[SideName, list[Example]] = {
            "forget": self._forget,
            "alternate": self._alternate,
            "retain": self._retain,
        }
        dealt = dealt_records(self.terms, examples, self.pair_sampler, self.args)
        check_reference_size(self.model, self.terms, examples, dealt, self.args.reference_cache_gb)
        with evaluation_mode(self.model):
            for side, kind in reference_needs(self.terms):
                self.references.remember(side, kind, examples[side], dealt[side])

    def _before(self, examples: Sequence[Example]) -> Shifted:
        return self._shifted(self.model, self._prepare_inputs(pad_examples(examples, self._pad_id)))

    def _shifted(self, model: nn.Module, batch: Mapping[str, Any]) -> Shifted:
        """Run the model; logits and hidden states of the labelled positions only, each row's moved to the front."""
        labels = batch["labels"][:, 1:]
        positions = labelled_first(labels)
        inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if self._blocks:
            inputs["output_hidden_states"] = True
        # As in training, where accelerate puts it around the model's forward.
        with self.accelerator.autocast():
            output, logits = labelled_logits(model, positions, self._slices_logits, use_cache=False, **inputs)
        # The first of the hidden states is the embedding.
        hidden = {
            block: output.hidden_states[block + 1].take_along_dim(positions[..., None], dim=1) for block in self._blocks
        }
        return Shifted(labels.gather(1, positions), logits, hidden)

    def _start_fila(self, initial: Mapping[str, Tensor] | None) -> None:
        if initial is not None:
            self.initial_factors = dict(initial)
            subtract_initial(self.model, initial)
            return
        measure = fisher_information if self.args.fila_fisher == "element" else fisher_row_sums
        names = [f"base_model.model.{name}.base_layer" for name, _ in lora_layers(self.model)]

        def batches(examples: Sequence[Example]) -> list[dict[str, Tensor]]:
            size = self.args.fila_batch_size
            return [
                pad_examples(examples[begin : begin + size], self._pad_id) for begin in range(0, len(examples), size)
            ]

        # The retain side is what an epoch would pair the forget side with, whether training reads it or not.
        sampler = PairSampler(len(self._forget), len(self._retain), self.args.retain_per_forget, self.args.seed)
        dealt = sorted({index for _, indices in sampler.pairs(0) for index in indices})
        # FILA replaces whatever the adapters hold, so it is the base that matters, and half the work to ask it alone.
        with self.model.disable_adapter():
            # On the CPU until a layer needs them: in float32 either is as large as the weights.
            forget = {name: values.cpu() for name, values in measure(self.model, batches(self._forget), names).items()}
            retain = measure(self.model, batches([self._retain[index] for index in dealt]), names) if dealt else None
        self.initial_factors = apply_fila(self.model, forget, retain, self.args.fila_epsilon)

    # Training -------------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **options: Any) -> Any:
        """Train; afterwards :attr:`stop_reason` says why it ended.

        Args:
            resume_from_checkpoint: A checkpoint; True for the newest complete one of ``output_dir``.
            options: Of ``transformers.Trainer.train``.

        Raises:
            ValueError: There is no checkpoint, or it belongs to other initial factors of FILA than this trainer's.
        """
        upcast_trained(self.model, self.args.device)
        checkpoint = self._checkpoint(resume_from_checkpoint)
        if checkpoint is not None:
            self._check_factors(checkpoint)
            self._take_up(checkpoint)
        if checkpoint is not None and self._ended_at(checkpoint):
            outcome = TrainOutput(self.state.global_step, float("nan"), {})
        else:
            outcome = super().train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint), **options)
        # Mixed precision wraps the model's forward; what leaves is measured, and used, without it.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self._selected is not None:
            self.selected_epoch = self._selected.epoch
            self._set_weights(self._selected.weights)
        if self.method.negation is not None:
            self._negate(self.method.negation)
        cast_back(self.model, self._dtypes)
        return outcome

    @torch.no_grad()
    def _set_weights(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.guard.trainable().items():
            parameter.copy_(values[name])

    @torch.no_grad()
    def _negate(self, scale: float) -> None:
        """Go from the start as far the other way, times the scale."""
        for name, parameter in self.guard.trainable().items():
            if ".lora_A." in name:
                continue  # the change is B A, with B = 0 at the start: turning B round turns it round
            start = self._start[name].to(parameter)
            parameter.copy_(start - scale * (parameter - start))

    def _take_up(self, checkpoint: Path) -> None:
        """Take up what a checkpoint holds beside weights and optimiser."""
        self.multiplier = json.loads((checkpoint / _OUTCOME).read_text(encoding="utf-8"))["multiplier"]
        self._selected = Selected.read(checkpoint)

    def _checkpoint(self, wanted: str | Path | bool | None) -> Path | None:
        if wanted is None or wanted is False:
            return None
        if wanted is not True:
            return Path(wanted)
        newest = newest_complete(Path(self.args.output_dir))
        if newest is None:
            raise ValueError(f"no complete checkpoint in {self.args.output_dir}")
        return newest

    def _ended_at(self, checkpoint: Path) -> bool:
        """Take up a checkpoint at which training had ended, or should have; False if it goes on from there."""
        outcome = json.loads((checkpoint / _OUTCOME).read_text(encoding="utf-8"))
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        ended = bool(outcome["stop_reason"] != "epochs")
        if not ended and not self._rule_is_open(state):
            return False
        self._load_from_checkpoint(str(checkpoint))
        self.stop_reason, self.guard.divergence = outcome["stop_reason"], outcome["divergence"]
        if not ended:
            # Written in the last step of an epoch, before the rule could speak: it speaks now.
            state.epoch = round(state.epoch or 0)
            ended = self._consult_rule(state.epoch)
        if ended:
            self.state = state
        return ended

    def _rule_is_open(self, state: TrainerState) -> bool:
        """Whether a state lies at the end of an epoch whose measurement by the stop rule is missing."""
        epoch = round(state.epoch or 0)
        if self.stop_rule is None or epoch == 0 or abs(state.epoch - epoch) > 1e-6 or epoch % self.stop_rule.every:
            return False
        measured = [entry["epoch"] for entry in state.log_history if "forget_memorization_accuracy" in entry]
        return not any(abs(other - epoch) < 1e-6 for other in measured)

    def _consult_rule(self, epoch: int) -> bool:
        """Measure, log, and say whether training ends here."""
        rule = self.stop_rule
        if rule is None or epoch % rule.every:
            return False
        with self.accelerator.autocast():
            values = rule.measure(self.model)
        self.log(dict(values))
        if not self._of_main_process(float(rule.satisfied(values, epoch))):
            return False
        self.stop_reason = "forgotten"
        return True

    def _consider(self, epoch: int) -> None:
        """Measure the selection, log it, and keep the weights if they are the best so far."""
        if self.selection is None or epoch % self.selection.every:
            return
        with self.accelerator.autocast():
            values = self.selection.measure(self.model)
        self.log(dict(values))
        score = self._of_main_process(values["selection_score"])
        if self._selected is None or score > self._selected.score:
            weights = {name: p.detach().to("cpu", copy=True) for name, p in self.guard.trainable().items()}
            self._selected = Selected(score, epoch, weights)

    def _of_main_process(self, value: float) -> float:
        """The main process's value: rounding must not let processes decide differently."""
        return float(broadcast(torch.tensor(value, device=self.args.device)))

    def _check_factors(self, checkpoint: Path) -> None:
        path = checkpoint / INITIAL_FACTORS
        if path.is_file() != (self.initial_factors is not None):
            raise ValueError(f"{checkpoint}: was written with another lora_init")
        if self.initial_factors is not None:
            saved = load_file(path)
            if any(not torch.equal(saved[name], value.cpu()) for name, value in self.initial_factors.items()):
                raise ValueError(
                    f"{checkpoint}: belongs to other initial factors; pass initial_factors=load_file({path.name!r})"
                )

    def _get_train_sampler(self, train_dataset: Any = None) -> PairSampler:  # noqa: ARG002
        return self.pair_sampler

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """Return the micro-batches of a step and, by term, how many units all of them hold on all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(len(self.terms), device=device)
        for batch in batches:
            for place, (_, term) in enumerate(self.terms):
                counts[place] += count_units(term.counted(_labels_of(batch, term.reads)), term.unit).to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        return batches, counts

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
        seen = self._shifted(model, inputs)
        values, sides = self._term_values(seen, inputs, num_items_in_batch)
        total = sum((self._weight(weight, term) * value for (weight, term), value in values), seen.logits.new_zeros(()))
        if model.training:
            total = self._guarded(total, sides)
        # Gradients are averaged over processes, while the terms are sums of all of them already.
        total = total * self._averaged_over()
        return (total, {"logits": seen.logits}) if return_outputs else total

    def _term_values(
        self, seen: Shifted, inputs: Mapping[str, Any], counts: Tensor | None
    ) -> tuple[list[tuple[WeightedTerm, Tensor]], Sides]:
        """Every term's share of its mean over the whole step, in float32 or better."""
        sides = self._sides(seen, inputs)
        if counts is None:
            counts = torch.stack(
                [count_units(term.counted(_labels_of(inputs, term.reads)), term.unit) for _, term in self.terms]
            )
        values = []
        for (weight, term), count in zip(self.terms, counts, strict=True):
            value = term.items(sides).sum() / count.clamp(min=1)
            if self.model.training:
                self._term_sums[term.name] += value.detach()
                if self.method.dual is not None and term.name == self.method.dual.term:
                    self._dual_sum += value.detach()
            values.append(((weight, term), value))
        return values, sides

    def _weight(self, weight: float, term: Term) -> float:
        dual = self.method.dual
        return (
            self.multiplier if dual is not None and term.name == dual.term and self.multiplier is not None else weight
        )

    def _averaged_over(self) -> int:
        """Over how many processes gradients are averaged."""
        return int(self.accelerator.num_processes)

    def _projected_step(self, model: nn.Module, inputs: Mapping[str, Any], counts: Tensor | None) -> Tensor:
        """Do one micro-batch with separate gradients of forget and retain terms, projected at the end of the step."""
        model.train()
        parameters = list(self.guard.trainable().values())
        wrapped = self.accelerator.num_processes > 1
        with self.accelerator.no_sync(model) if wrapped else nullcontext():
            values, sides = self._term_values(self._shifted(model, inputs), inputs, counts)
            nothing = parameters[0].new_zeros(())
            retain, forget = (
                sum(
                    (
                        self._weight(weight, term) * value
                        for (weight, term), value in values
                        if (term.reads == "retain") == holds
                    ),
                    nothing,
                )
                for holds in (True, False)
            )
            total = forget + retain
            sound = self._guarded(total, sides) is total
            self._gradients.add("forget", forget, parameters, retain_graph=True)
            self._gradients.add("retain", retain, parameters, retain_graph=False)
        if self.accelerator.sync_gradients and sound:
            gradients = self._gradients.finish(lambda g: self.accelerator.reduce(g, "sum") if wrapped else g)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        return total.detach() * self._averaged_over()

    def _sides(self, seen: Shifted, inputs: Mapping[str, Tensor]) -> Sides:
        ends = inputs["parts"].cumsum(0).tolist()
        forget_rows, retain_rows = inputs["forget_index"].tolist(), inputs["retain_index"].tolist()
        indices: dict[SideName, list[int]] = {
            "forget": forget_rows,
            "alternate": forget_rows,
            "retain": retain_rows,
        }
        sides: dict[str, Side] = {}
        for (name, rows), begin, end in zip(indices.items(), [0, *ends[:-1]], ends, strict=True):
            if end > begin:
                part = slice(begin, end)
                hidden = {block: states[part] for block, states in seen.hidden.items()}
                sides[name] = Side(seen.labels[part], seen.logits[part], hidden)
                self.references.attach(name, sides[name], rows)
        return Sides(**sides)

    def _update_dual(self) -> None:
        """Move the multiplier by the constrained term's mean over the step that has just been done."""
        dual = self.method.dual
        if dual is None or self.multiplier is None:
            return
        value = self._dual_sum
        if self.args.world_size > 1:
            value = self.accelerator.reduce(value, reduction="sum")
        self.multiplier = dual.update(self.multiplier, float(value))
        self._dual_sum = torch.zeros_like(self._dual_sum)

    # The divergence guard -------------------------------------------------------------------------------------------

    @property
    def divergence(self) -> str | None:
        """What the guard saw, if it stopped training."""
        return self.guard.divergence

    def _guarded(self, loss: Tensor, sides: Sides) -> Tensor:
        """The loss, or a loss without gradient when it shows that the weights have gone astray."""
        with torch.no_grad():
            nll = [_mean_nll(side.logits, side.labels) for side in (sides.forget, sides.retain) if side is not None]
        if not self.guard.judge(loss.detach(), torch.stack(nll), f"a batch at step {self.state.global_step}"):
            return sum((p.sum() * 0 for p in self.guard.trainable().values()), loss.new_zeros(()))
        return loss

    @torch.no_grad()
    def vet(self) -> bool:
        """Look at the weights as they are now; keep them if they are sound, else go back to those kept last.

        Training calls it at the end of every epoch and before every checkpoint.
        """
        if self.divergence is not None or self._vetted_at == self.state.global_step:
            return self.divergence is None
        size = self.args.per_device_train_batch_size
        examples = [*self._forget[:_VETTED], *self._retain[:_VETTED]]
        chunks = [examples[begin : begin + size] for begin in range(0, len(examples), size)]
        with evaluation_mode(self.model):
            seen = [self._before(chunk) for chunk in chunks]
            nll = torch.stack([_mean_nll(each.logits, each.labels) for each in seen])
        if self.guard.judge(nll.new_zeros(()), nll, f"the model after step {self.state.global_step}"):
            self._keep_weights()
        else:
            self._go_back()
        return self.divergence is None

    def _keep_weights(self) -> None:
        self.guard.keep()
        self._vetted_at = self.state.global_step

    def _go_back(self) -> None:
        self.guard.restore()
        self.stop_reason = "diverged"

    # Logs and checkpoints -------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean of every term since the last log beside the loss."""
        if "loss" in logs:
            steps = max(self.state.global_step - self._steps_logged, 1)
            for name in list(self._term_sums):
                value = self._term_sums.pop(name)
                if self.args.world_size > 1:
                    value = self.accelerator.reduce(value, reduction="sum")
                logs[name] = value.item() / steps
            if self.multiplier is not None:
                logs["multiplier"] = self.multiplier
            self._steps_logged = self.state.global_step
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            directory = Path(output_dir or self.args.output_dir)
            # A pickle that nobody needs: the settings stand in the run's configuration.
            (directory / "training_args.bin").unlink(missing_ok=True)
            if self.initial_factors is not None:
                write_tensors(directory / INITIAL_FACTORS, self.initial_factors)
            if self._selected is not None:
                self._selected.write(directory)
            outcome = {
                "stop_reason": self.stop_reason,
                "divergence": self.divergence,
                "multiplier": self.multiplier,
            }
            write_json(directory / _OUTCOME, outcome)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint beside its place, seal it and rename it to ``step-<n>``; then drop the oldest."""
        self.vet()
        output = Path(self.args.output_dir)
        staging = output / ".staging"
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(staging)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(output)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            (written,) = staging.glob("checkpoint-*")
            seal(written, output / f"step-{self.state.global_step}")
            shutil.rmtree(staging)
            if self.args.save_total_limit:
                for old in numbered_checkpoints(output)[: -self.args.save_total_limit]:
                    shutil.rmtree(old)


class _Hooks(TrainerCallback):
    """The trainer's own callbacks."""

    def __init__(self, trainer: UnlearnTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._trainer._steps_logged = state.global_step
        self._trainer._keep_weights()
        epoch = round(state.epoch or 0)
        measured = [entry["epoch"] for entry in state.log_history if "selection_score" in entry]
        if epoch and abs(state.epoch - epoch) < 1e-6 and epoch not in [round(other) for other in measured]:
            self._trainer._consider(epoch)  # the checkpoint was written in the last step, before the epoch ended

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Skipping batches on resume wraps the sampler so deep that the loader no longer finds it.
        self._trainer.pair_sampler.set_epoch(int((state.epoch or 0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._trainer._update_dual()
        if self._trainer.divergence is not None:
            self._trainer._go_back()
            control.should_training_stop = True
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        epoch = round(state.epoch or 0)
        if not self._trainer.vet():
            control.should_training_stop = True
            return
        self._trainer._consider(epoch)
        if self._trainer._consult_rule(epoch):
            control.should_training_stop = True


def _mean_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood over the labelled tokens of a batch, 0 without any."""
    return -token_log_probs(logits, labels).sum() / (labels != IGNORED).sum().clamp(min=1)


def _labels_of(batch: Mapping[str, Tensor], side: SideName) -> Tensor:
    """The shifted labels of one part of a batch."""
    forget, alternate, _ = batch["parts"].tolist()
    rows = {
        "forget": slice(0, forget),
        "alternate": slice(forget, forget + alternate),
        "retain": slice(forget + alternate, None),
    }
    return batch["labels"][rows[side], 1:]


def _method_of(method: Method | str | None, args: UnlearnConfig) -> Method:
    """The method that was given, by name or as it is, and else that of the settings."""
    if method is None:
        return build_method(args.method, args.method_settings)
    if args.method_settings:
        raise SettingsError("args.method_settings belong to args.method; give a method that has its settings instead")
    return method if isinstance(method, Method) else build_method(method)


def _check_sets(forget: Sequence[Any], retain: Sequence[Any] | None, method: Method) -> None:
    if not len(forget):
        raise SettingsError("the forget set is empty")
    if method.reads("retain") and not len(retain or ()):
        raise SettingsError(
            f"method {method.card.name!r} with its retain term needs a retain set; leave the term out with "
            "method_settings={'retain': None}"
        )
