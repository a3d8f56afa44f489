"""The settings of the unlearning trainer."""

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import check_sharding, shards_weights
from myosotis.unlearning.language.methods import build_method

_SHARDED_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop")
"""Optimisers that work element by element, so that a shard takes the step that it would take in its whole weight."""


def use_one_device(args: TrainingArguments) -> None:
    """Train on a single device unless a launcher has started a process for each.

    On a machine with several GPUs transformers would fall back to ``DataParallel``, which multiplies the configured
    batch size by their number.
    """
    args._n_gpu = min(args.n_gpu, 1)


@dataclass
class UnlearnConfig(TrainingArguments):
    """Settings of :class:`~myosotis.unlearning.language.UnlearnTrainer`, beside those of ``TrainingArguments``.

    Attributes:
        method: Name of the method, see ``myosotis methods``.
        method_settings: Settings of the method, e.g. ``{"beta": 0.1, "retain": None}``.
        lora_init: ``"default"``, or ``"fila"`` for Fisher-initialised adapters.
        fila_epsilon: See :func:`~myosotis.unlearning.language.fila_factors`.
        fila_fisher: ``"element"``, the paper's ratio; ``"row"``, the cheaper one of row sums.
        fila_batch_size: Records per pass of the Fisher information; does not change it.
        retain_per_forget: Retain records for each forget record.
        replay_prompts: Questions about strangers in the wording of the forget set, which the model answers before it
            unlearns; the retain term keeps these answers too, one for each forget record.
        template: Template that joins prompt and response.
        max_length: Maximum tokens of a record.
        append_eos: Whether a labelled end-of-sequence token follows a response.
        disable_dropout: Whether every dropout of the model is set to 0, as the authors of knowledge unlearning do.
        max_nll: Divergence guard: training stops when the mean negative log-likelihood of the forget or the retain
            side is not finite or above this many nats. None: twice the log of the vocabulary's size; infinity leaves
            only the test for finite values. The weights that it goes back to are those that passed it last, at the
            start, at the end of an epoch or at a checkpoint; no checkpoint is written of weights that do not pass.
        reference_cache_gb: Limit of the logits or hidden states of the old model that a method keeps.
        forget_tokens: ``"response"``, or ``"facts"`` to forget the fact tokens alone and leave the rest of the answer.
        trainable_parameters: A regular expression that the names of the weights to train contain; None for all.
    """

    method: str = "ihl"
    method_settings: dict[str, Any] = field(default_factory=dict)
    lora_init: str = "default"
    fila_epsilon: str = "relative"
    fila_fisher: str = "element"
    fila_batch_size: int = 8
    retain_per_forget: int = 1
    replay_prompts: int = 0
    template: str = "{prompt} {response}"
    max_length: int = 512
    append_eos: bool = True
    disable_dropout: bool = True
    max_nll: float | None = None
    reference_cache_gb: float = 8.0
    forget_tokens: str = "response"
    trainable_parameters: str | None = None
    remove_unused_columns: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_sharding()
        if self.fsdp:
            raise SettingsError("fsdp: FSDP is chosen by accelerate launch, see examples/accelerate/fsdp.yaml")
        try:
            super().__post_init__()
        except (ValueError, ImportError) as error:
            # Its checks: of the precision against the device, of packages that are not installed.
            raise SettingsError(" ".join(str(error).split())) from error
        use_one_device(self)
        if self.deepspeed_plugin is not None and self.deepspeed_plugin.zero_stage == 3:
            raise SettingsError(
                "DeepSpeed ZeRO stage 3 shards the weights, which is not supported; use FSDP or stage 2"
            )
        choices = {
            "lora_init": ("default", "fila"),
            "fila_epsilon": ("relative", "official"),
            "fila_fisher": ("element", "row"),
            "forget_tokens": ("response", "facts"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.retain_per_forget < 1 or self.fila_batch_size < 1:
            raise SettingsError("retain_per_forget and fila_batch_size must be at least 1")
        method = build_method(self.method, self.method_settings)
        if self.replay_prompts < 0 or (self.replay_prompts and not method.reads("retain")):
            raise SettingsError("replay_prompts is at least 0, and needs a method with a retain term")
        if method.projection is not None and (self.fp16 or shards_weights()):
            raise SettingsError("projection works on whole gradients: not with fp16, nor with FSDP")
        if shards_weights() and self.optim.value not in _SHARDED_OPTIMIZERS:
            raise SettingsError(
                f"optimizer {self.optim.value} is not known to work on shards; with FSDP choose one of "
                f"{', '.join(_SHARDED_OPTIMIZERS)}"
            )
