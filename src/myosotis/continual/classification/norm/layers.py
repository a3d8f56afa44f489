"""Task-balanced batch normalisation as a drop-in for ``nn.BatchNorm``."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from myosotis.continual.classification.norm.moments import balanced_normalisation
from myosotis.continual.classification.norm.partition import DivisorOf, Mode, Partition, reshape_factor


class TaskBalancedBatchNorm(_BatchNorm):
    """Batch normalisation whose moments weigh all tasks equally (TBBN; Cha, Cho, Hwang, Hong, Lee, Moon, CVPR 2023).

    In exemplar-based class-incremental learning a batch holds many samples of the current task and few of each past
    one, and its moments are biased likewise. With a :class:`Partition` in force, see
    :func:`~myosotis.continual.classification.norm.convert.task_balance`, the current samples go into r splits, each of
    which meets all remembered samples; a current sample is normalised by the moments of its split, a remembered one by
    the mean of what all splits would make of it. Running statistics follow the mean over splits. Without a partition,
    while r is 1, and in evaluation, it is ``nn.BatchNorm``, of which it also has the parameters and the buffers.

    The order of the current samples matters and should be random: sample i belongs to split ``i mod r``.

    γ and β are trained as in batch normalisation: β gets the same gradient to the last digit, and γ differs only by the
    moments, so the balance is one of the statistics. This holds for the authors' code too.

    With a partition in force there are first derivatives only, by ``backward``: neither double backward nor the
    transforms of ``torch.func`` go through it.

    Args:
        num_features: C.
        eps: Constant added to the variances.
        momentum: Weight of the new value; None for the cumulative mean.
        affine: Whether there are γ and β.
        track_running_stats: Whether there are running statistics.
        divisor_of: Divisor of the splits, see :func:`~myosotis.continual.classification.norm.partition.reshape_factor`.
        mode: ``"exact"`` is the method. ``"weighted"`` takes one pair of moments in which a current sample weighs 1/r,
            with a fractional r: another method, with the same running mean and a larger running variance.
        sync: Normalise the batches of all processes together, as ``nn.SyncBatchNorm`` does. All have as many samples of
            both kinds, and r divides the share of each.
        device: Device of the parameters.
        dtype: Data type of the parameters.

    Raises:
        ValueError: In training, where a split has one value for a channel, or a batch is smaller than its partition.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        divisor_of: DivisorOf = "both",
        mode: Mode = "exact",
        sync: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.divisor_of: DivisorOf = divisor_of
        self.mode: Mode = mode
        self.sync = sync
        # An attribute, not a thread-local: activation checkpointing and data parallelism run forward in other threads.
        self.partition: Partition | None = None

    def forward(self, input: Float[Tensor, "n channels *space"]) -> Float[Tensor, "n channels *space"]:  # noqa: A002
        """Return the normalised batch."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if not self.training:
            return super().forward(input)
        plan = self._plan(len(input))
        if plan is None and not (self.sync and _group() is not None):
            return super().forward(input)
        n_current, splits, share = plan or (0, 1, 1.0)
        output, mean, variance, values = balanced_normalisation(
            input,
            self.weight,
            self.bias,
            n_current=n_current,
            splits=splits,
            share=share,
            eps=self.eps,
            group=_group() if self.sync else None,
        )
        if self.track_running_stats:
            self._track(mean.mean(0), variance.mean(0), values)
        return output

    def _plan(self, count: int) -> tuple[int, int, float] | None:
        """B_c, the splits and the weight of a current sample; None for plain batch normalisation."""
        if self.partition is None:
            return None
        n_current, tasks = self.partition.n_current, self.partition.n_past_tasks
        n_memory = count - n_current
        if n_memory < 0:
            raise ValueError(f"the partition names {n_current} current samples, but the batch has {count}")
        if min(n_current, n_memory, tasks) < 1:
            return None
        if self.mode == "weighted":
            return n_current, 1, n_memory / (n_current * tasks)
        splits = reshape_factor(n_current, n_memory, tasks, divisor_of=self.divisor_of)
        return None if splits == 1 else (n_current, splits, 1.0)

    def _track(self, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018, S101 - they are tracked
        assert self.num_batches_tracked is not None  # noqa: S101
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            rate: Any = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.float()
            unbiased = variance * (values / (values - 1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), rate)

    def extra_repr(self) -> str:
        """Return the settings."""
        plain: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{plain}, divisor_of={self.divisor_of}, mode={self.mode}, sync={self.sync}"


class TaskBalancedBatchNorm1d(TaskBalancedBatchNorm, nn.BatchNorm1d):
    """:class:`TaskBalancedBatchNorm` for (n, channels) or (n, channels, length)."""


class TaskBalancedBatchNorm2d(TaskBalancedBatchNorm, nn.BatchNorm2d):
    """:class:`TaskBalancedBatchNorm` for (n, channels, height, width).

    Example:
        >>> from myosotis.continual.classification.norm.convert import task_balance
        >>> layer = TaskBalancedBatchNorm2d(8)
        >>> with task_balance(layer, n_current=48, n_past_tasks=3):
        ...     layer(torch.rand(64, 8, 4, 4)).shape
        torch.Size([64, 8, 4, 4])
    """


class TaskBalancedBatchNorm3d(TaskBalancedBatchNorm, nn.BatchNorm3d):
    """:class:`TaskBalancedBatchNorm` for (n, channels, depth, height, width)."""


def _group() -> Any:
    """The group of all processes, if there are several."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return None
    return distributed.group.WORLD
