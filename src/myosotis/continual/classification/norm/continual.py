"""Baselines of task-balanced batch normalisation: continual normalisation and group normalisation."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.norm.convert import replace_layers
from myosotis.engine.errors import SettingsError


class ContinualNorm2d(nn.BatchNorm2d):
    """Group normalisation without affine map, then batch normalisation (CN; Pham, Liu, Hoi, ICLR 2022).

    Its state is that of ``nn.BatchNorm2d``.

    Args:
        num_features: C.
        eps: Constant added to the variances of both parts.
        momentum: Momentum of the running statistics.
        groups: Number of groups, a divisor of C.

    Raises:
        SettingsError: The groups do not divide the channels.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, *, groups: int = 8) -> None:
        super().__init__(num_features, eps, momentum)
        if num_features % groups:
            raise SettingsError(f"{num_features} channels are not a multiple of {groups} groups")
        self.groups = groups

    def forward(self, input: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n channels height width"]:  # noqa: A002
        """Return the normalised batch."""
        return super().forward(functional.group_norm(input, self.groups, eps=self.eps))


def convert_continual(module: nn.Module, groups: int = 8) -> nn.Module:
    """Replace every ``nn.BatchNorm2d`` by :class:`ContinualNorm2d` with the same parameters and buffers.

    Raises:
        SettingsError: The groups do not divide some layer's channels.
    """

    def convert(layer: nn.Module) -> nn.Module:
        if not _is_plain(layer):
            return layer
        assert isinstance(layer, nn.BatchNorm2d)  # noqa: S101 - checked above
        exchanged = ContinualNorm2d(layer.num_features, layer.eps, layer.momentum, groups=groups)
        exchanged._parameters.update(layer._parameters)
        exchanged._buffers.update(layer._buffers)
        return exchanged.train(layer.training)

    return replace_layers(module, convert)


def convert_group(module: nn.Module, groups: int = 8) -> nn.Module:
    """Replace every ``nn.BatchNorm2d`` by ``nn.GroupNorm`` with the same affine parameters and no running statistics.

    Raises:
        SettingsError: The groups do not divide some layer's channels.
    """

    def convert(layer: nn.Module) -> nn.Module:
        if not _is_plain(layer):
            return layer
        assert isinstance(layer, nn.BatchNorm2d)  # noqa: S101 - checked above
        if layer.num_features % groups:
            raise SettingsError(f"{layer.num_features} channels are not a multiple of {groups} groups")
        exchanged = nn.GroupNorm(groups, layer.num_features, layer.eps, layer.affine, device="meta")
        exchanged._parameters.update(layer._parameters)
        return exchanged.train(layer.training)

    return replace_layers(module, convert)


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is ``nn.BatchNorm2d``; raises for a subclass with a behaviour of its own."""
    if not isinstance(layer, nn.BatchNorm2d) or isinstance(layer, ContinualNorm2d):
        return False
    if type(layer) is not nn.BatchNorm2d:
        raise SettingsError(f"{type(layer).__name__} extends nn.BatchNorm2d; conversion would lose the extension")
    return True
