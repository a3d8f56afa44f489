"""EWF: endpoints weight fusion."""

import math
from dataclasses import dataclass

import torch

from myosotis.continual.segmentation.learner import SegmentationState
from myosotis.continual.segmentation.methods.mib import MiB, MiBSettings
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class EWFSettings(MiBSettings):
    """Settings of EWF, which are those of MiB."""


class EWF(MiB):
    """MiB, and after each task ``θ = (1 - a) θ_old + a θ_new`` with ``a = sqrt(n_new / (n_new + n_old))``."""

    card = MethodCard(
        "ewf",
        "EWF",
        "Xiao, Zhang, Xu, Wang, Cheng, Luo, CVPR 2023",
        "current task",
        "the old network",
        "A weighted mean of old and new weights; combines with any method.",
    )
    Settings = EWFSettings

    def after_task(self, task: SegmentationState) -> None:
        """Average old and new weights; weights that only the new network has are unchanged."""
        if not task.number:
            return
        # n_old counts the background.
        share = math.sqrt(task.new / (task.new + task.known))
        old = self.teacher.state_dict()
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                if name in old and value.is_floating_point():
                    value.lerp_(old[name], 1 - share)
