"""The trainer of language-model unlearning: ``transformers.Trainer`` with forget and retain sides."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from myosotis.data.encoding import IGNORED, Encoder, Example, pad_examples, pad_token_id
from myosotis.data.rows import to_examples, to_records
from myosotis.engine.checkpoint import newest_complete, numbered_checkpoints, seal
from myosotis.engine.files import write_json, write_tensors
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.fila import apply_fila, lora_layers, refuse_tied_layers, subtract_initial
from myosotis.unlearning.language.fisher import fisher_information, fisher_row_sums
from myosotis.unlearning.language.guard import DivergenceGuard
from myosotis.unlearning.language.losses import sequence_log_probs, token_log_probs
from myosotis.unlearning.language.memorization import evaluation_mode
from myosotis.unlearning.language.methods import Side, Sides, Term, build_method, retain_term
from myosotis.unlearning.language.methods.method import count_units
from myosotis.unlearning.language.pairing import PairCollator, PairDataset, PairSampler
from myosotis.unlearning.language.refusals import REFUSALS, refusal_records
from myosotis.unlearning.language.stopping import StopRule
from myosotis.unlearning.language.trainer_config import UnlearnConfig

_OUTCOME = "unlearn_outcome.json"
_VETTED = 64  # records of either side that the guard looks at between steps

INITIAL_FACTORS = "fila_initial.safetensors"
"""The file of a checkpoint that holds the initial factors of FILA."""

StopReason = Literal["epochs", "forgotten", "diverged"]


class UnlearnTrainer(Trainer):
    """Unlearns a forget set, holding on to a retain set; called as the trainers of TRL are.

    The loss of every term is a mean over its tokens or sequences in the whole optimisation step, over all micro-batches
    and processes: accumulation does not change the trajectory. References of the old model are computed once, before
    training; no copy of the model is kept.

    Args:
        model: A causal language model, or a name or directory that
            :func:`~myosotis.models.causal_lm.load_causal_lm` knows.
        args: The settings.
        forget_dataset: Rows with ``text``, ``prompt`` and ``response``, or ``messages``; or records, or examples.
        retain_dataset: The same; needed by methods with a retain term and by FILA's ratio.
        processing_class: The tokenizer; None only when ``model`` is a name.
        peft_config: A ``LoraConfig`` to train an adapter instead of all weights.
        refusals: Refusals for ``idk`` and ``dpo`` instead of the built-in ones.
        stop_rule: Measured after every epoch; training ends when it is satisfied.
        initial_factors: The initial factors of an interrupted FILA run, to continue exactly that.
        callbacks: Further callbacks of ``transformers``.

    Attributes:
        stop_reason: Why training ended, after :meth:`train`.
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
        refusals: Sequence[str] = REFUSALS,
        stop_rule: StopRule | None = None,
        initial_factors: Mapping[str, Tensor] | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        network: Any = model
        if isinstance(model, str):
            network, loaded = load_causal_lm(model)
            processing_class = processing_class or loaded
        if processing_class is None:
            raise ValueError("processing_class, the tokenizer, is missing")
        self.method = build_method(args.method, args.method_settings)
        self.terms = self._weighted_terms()
        _check_sets(forget_dataset, retain_dataset, self.method.retain is not None, args)
        if args.lora_init == "fila" and peft_config is None and not isinstance(network, PeftModel):
            raise ValueError("lora_init='fila' needs a peft_config: FILA initialises low-rank adapters")
        encoder = Encoder(processing_class, args.template, args.max_length, args.append_eos)
        self._forget = to_examples(forget_dataset, encoder)
        self._retain = to_examples(retain_dataset or (), encoder)
        self._refusal: list[Example] = []
        if self.method.needs_refusals:
            self._refusal = [encoder(row) for row in refusal_records(to_records(forget_dataset), args.seed, refusals)]
        if peft_config is not None:
            network = get_peft_model(network, peft_config)
        if isinstance(network, PeftModel):
            refuse_tied_layers(network)
        if args.disable_dropout:
            _disable_dropout(network)
        if args.activation_checkpointing and isinstance(network, PeftModel):
            # Otherwise reentrant checkpointing gives the adapters no gradient, and says nothing.
            network.enable_input_require_grads()
        self._pad_id = pad_token_id(processing_class)
        self.stop_rule = stop_rule
        self.stop_reason: StopReason = "epochs"
        self.initial_factors: dict[str, Tensor] | None = None
        self._term_sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=args.device))
        self._steps_logged = 0
        self._vetted_at = -1
        # The losses are already means over the whole step.
        self.loss_is_scaled_for_ga = True
        super().__init__(
            model=network,
            args=args,
            train_dataset=PairDataset(len(self._forget)),
            data_collator=PairCollator(self._forget, self._refusal, self._retain, self._pad_id),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        reads_retain = self.method.retain is not None
        self.pair_sampler = PairSampler(
            len(self._forget),
            len(self._retain) if reads_retain else 0,
            args.retain_per_forget,
            args.seed,
            multiple_of=args.world_size * args.train_batch_size if args.world_size > 1 else 1,
        )
        max_nll = args.max_nll if args.max_nll is not None else 2 * math.log(network.config.vocab_size)
        self.guard = DivergenceGuard(self.model, max_nll, self.accelerator.gather)
        self.add_callback(_Hooks(self))
        # The model still is what it was: a fresh adapter changes nothing, and FILA comes after.
        self._reference_log_probs: dict[str, Tensor] = {}
        if self.method.needs_reference_log_probs:
            self._reference_log_probs = {
                name: self._log_probs_before(examples)
                for name, examples in (("forget", self._forget), ("refusal", self._refusal))
                if examples
            }
        self._reference_logits: dict[int, Tensor] = {}
        if self.method.retain == "kl":
            self._reference_logits = self._retain_logits_before()
        if args.lora_init == "fila":
            self._start_fila(initial_factors)

    def _weighted_terms(self) -> list[tuple[float, Term]]:
        terms: list[tuple[float, Term]] = [(self.method.forget_weight, self.method.forget_term())]
        if self.method.retain is not None:
            terms.append((self.method.retain_weight, retain_term(self.method.retain)))
        return terms

    # What is computed once, before training -------------------------------------------------------------------------

    @torch.no_grad()
    def _log_probs_before(self, examples: Sequence[Example]) -> Tensor:
        values = torch.zeros(len(examples))
        with evaluation_mode(self.model):
            for begin in range(0, len(examples), self.args.per_device_train_batch_size):
                chunk = examples[begin : begin + self.args.per_device_train_batch_size]
                logits, labels = self._forward_before(chunk)
                values[begin : begin + len(chunk)] = sequence_log_probs(logits, labels).cpu()
        return values

    @torch.no_grad()
    def _retain_logits_before(self) -> dict[int, Tensor]:
        """Logits (labelled tokens, vocab) of those retain records that the sampler will deal, on the CPU."""
        epochs = math.ceil(self.args.num_train_epochs)
        if self.args.max_steps > 0:
            batches = math.ceil(len(self.pair_sampler) / (self.args.train_batch_size * self.args.world_size))
            epochs = math.ceil(self.args.max_steps / math.ceil(batches / self.args.gradient_accumulation_steps))
        dealt = {
            index
            for epoch in range(epochs)
            for _, indices in self.pair_sampler.pairs(epoch)
            for index in indices
            if index >= 0
        }
        tokens = sum(label != IGNORED for index in dealt for label in self._retain[index].labels[1:])
        dtype = next(self.model.parameters()).dtype
        gigabytes = tokens * self.model.config.vocab_size * dtype.itemsize / 1e9
        if gigabytes > self.args.reference_cache_gb:
            raise ValueError(
                f"the KL retain term would keep {gigabytes:.1f} GB of reference logits, more than reference_cache_gb="
                f"{self.args.reference_cache_gb:g}; use retain='nll', fewer epochs or a smaller retain set"
            )
        kept: dict[int, Tensor] = {}
        with evaluation_mode(self.model):
            for index in sorted(dealt):
                logits, labels = self._forward_before([self._retain[index]])
                kept[index] = logits[labels != IGNORED].to(dtype).cpu()
        return kept

    def _forward_before(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        batch = self._prepare_inputs(pad_examples(examples, self._pad_id))
        with self.compute_loss_context_manager():
            output = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return output.logits[:, :-1], batch["labels"][:, 1:]

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
        forget = measure(self.model, batches(self._forget), names)
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
        checkpoint = self._checkpoint(resume_from_checkpoint)
        if checkpoint is not None:
            self._check_factors(checkpoint)
            if self._ended_at(checkpoint):
                return TrainOutput(self.state.global_step, float("nan"), {})
        return super().train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint), **options)

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
        values = rule.measure(self.model)
        self.log(dict(values))
        if not rule.satisfied(values, epoch):
            return False
        self.stop_reason = "forgotten"
        return True

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
                counts[place] += count_units(_labels_of(batch, term.reads), term.unit).to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        return batches, counts

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Do one micro-batch, unless the guard has stopped training."""
        if self.divergence is not None:
            return torch.zeros((), device=self.args.device)
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
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        sides = self._sides(outputs.logits[:, :-1], inputs)
        if num_items_in_batch is None:
            num_items_in_batch = torch.stack(
                [count_units(_labels_of(inputs, term.reads), term.unit) for _, term in self.terms]
            )
        total = outputs.logits.new_zeros((), dtype=torch.float32)
        for (weight, term), count in zip(self.terms, num_items_in_batch, strict=True):
            value = term.items(sides).sum() / count.clamp(min=1)
            if model.training:
                self._term_sums[term.name] += value.detach()
            total = total + weight * value
        if model.training:
            total = self._guarded(total, sides)
        # Gradients are averaged over processes, while the terms are sums of all of them already.
        total = total * (self.accelerator.num_processes if self.args.n_gpu <= 1 else 1)
        return (total, outputs) if return_outputs else total

    def _sides(self, logits: Tensor, inputs: Mapping[str, Tensor]) -> Sides:
        labels = inputs["labels"][:, 1:]
        ends = inputs["parts"].cumsum(0).tolist()
        forget_rows, refusal_rows, retain_rows = (
            slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        )

        def log_probs(name: str) -> Tensor | None:
            kept = self._reference_log_probs.get(name)
            return None if kept is None else kept[inputs["forget_index"].cpu()].to(logits.device)

        forget = Side(labels[forget_rows], logits[forget_rows], reference_log_probs=log_probs("forget"))
        refusal = Side(labels[refusal_rows], logits[refusal_rows], reference_log_probs=log_probs("refusal"))
        retain = Side(labels[retain_rows], logits[retain_rows])
        if self._reference_logits:
            retain.reference_logits = self._put_back(retain, inputs["retain_index"].tolist())
        has_refusal, has_retain = ends[1] > ends[0], ends[2] > ends[1]
        return Sides(forget, refusal if has_refusal else None, retain if has_retain else None)

    def _put_back(self, retain: Side, indices: Sequence[int]) -> Tensor:
        """The cached logits at their places in a padded batch."""
        cached = torch.cat([self._reference_logits[index] for index in indices if index >= 0])
        placed = torch.zeros(retain.logits.shape, dtype=cached.dtype, device=retain.logits.device)
        placed[retain.labels != IGNORED] = cached.to(retain.logits.device)
        return placed

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
            nll = torch.stack([_mean_nll(*self._forward_before(chunk)) for chunk in chunks])
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
            write_json(directory / _OUTCOME, {"stop_reason": self.stop_reason, "divergence": self.divergence})

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

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Skipping batches on resume wraps the sampler so deep that the loader no longer finds it.
        self._trainer.pair_sampler.set_epoch(int((state.epoch or 0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if self._trainer.divergence is not None:
            self._trainer._go_back()
            control.should_training_stop = True
            control.should_save = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if not self._trainer.vet() or self._trainer._consult_rule(round(state.epoch or 0)):
            control.should_training_stop = True


def _mean_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood over the labelled tokens of a batch, 0 without any."""
    return -token_log_probs(logits, labels).sum() / (labels != IGNORED).sum().clamp(min=1)


def _disable_dropout(model: nn.Module) -> None:
    """Dropout modules, those of adapters included, and the rates that some models hand to functional dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _labels_of(batch: Mapping[str, Tensor], side: Literal["forget", "refusal", "retain"]) -> Tensor:
    """The shifted labels of one part of a batch."""
    forget, refusal, _ = batch["parts"].tolist()
    rows = {
        "forget": slice(0, forget),
        "refusal": slice(forget, forget + refusal),
        "retain": slice(forget + refusal, None),
    }
    return batch["labels"][rows[side], 1:]


def _check_sets(forget: Sequence[Any], retain: Sequence[Any] | None, needs_retain: bool, args: UnlearnConfig) -> None:
    if not len(forget):
        raise ValueError("the forget set is empty")
    if needs_retain and not len(retain or ()):
        raise ValueError(
            f"method {args.method!r} with its retain term needs a retain set; leave the term out with "
            "method_settings={'retain': None}"
        )
