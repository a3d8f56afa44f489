"""The forward pass of a training step: logits and hidden states at labelled positions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from myosotis.unlearning.language.methods.forward import labelled_first, labelled_logits, takes_positions


@dataclass(frozen=True)
class Shifted:
    """Output of a forward pass, shifted: ``labels[:, t]`` belong to ``logits[:, t]`` and ``hidden[block][:, t]``."""

    labels: Tensor
    logits: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


class ForwardPass:
    """Runs a model on a padded batch; only labelled positions are kept, each row's moved to the front.

    Args:
        model: The model, not wrapped for several processes.
        blocks: Blocks whose outputs are returned, counted from 0.
        autocast: Context of mixed precision.
    """

    def __init__(self, model: Any, blocks: Sequence[int], autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        self._slices_logits = takes_positions(model)
        self._blocks = blocks
        self._autocast = autocast

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Shifted:
        """Return labels, logits and hidden states of the labelled positions.

        Args:
            model: The model, wrapped for several processes or not.
            batch: ``input_ids``, ``attention_mask`` and unshifted ``labels``.
        """
        labels = batch["labels"][:, 1:]
        positions = labelled_first(labels)
        inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if self._blocks:
            inputs["output_hidden_states"] = True
        # As in training, where accelerate puts it around the model's forward.
        with self._autocast():
            output, logits = labelled_logits(model, positions, self._slices_logits, use_cache=False, **inputs)
        # The first of the hidden states is the embedding.
        hidden = {
            block: output.hidden_states[block + 1].take_along_dim(positions[..., None], dim=1) for block in self._blocks
        }
        return Shifted(labels.gather(1, positions), logits, hidden)
