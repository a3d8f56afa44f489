"""MiB-AugM: exemplars whose background may be new."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from myosotis.continual.segmentation.learner import SegmentationBatch
from myosotis.continual.segmentation.methods.mib import MiB, MiBSettings
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class MiBAugMSettings(MiBSettings):
    """Settings of MiB-AugM.

    Attributes:
        scope: Classes that the mask of an exemplar labels. ``"old"``: every old class, so that its background is
            background or new, as in the authors' code; from the third task on that suppresses classes of other old
            tasks where they were never labelled. ``"stored"``: the classes that its own task labelled.
    """

    scope: Literal["old", "stored"] = "old"


class MiBAugM(MiB):
    """``L = ½ UCE(current) + ½ AugM(memory) + λ UKD``; on background AugM is ``-log(p_0 + sum_new p_c)``."""

    card = MethodCard(
        "mib_augm",
        "MiB-AugM",
        "Kwak, Cha, Moon, ECCV 2024",
        "current task, exemplars",
        "exemplars with their masks, the old network",
        "For exemplars that show several classes.",
    )
    Settings = MiBAugMSettings
    reads_memory = True
    settings: MiBAugMSettings

    def remembered(self, batch: SegmentationBatch) -> Bool[Tensor, "remembered classes"]:
        """Return the channels that masks of remembered images label."""
        if self.settings.scope == "stored":
            return batch.labelled[batch.n_current :]
        labelled = torch.zeros_like(batch.labelled[batch.n_current :])
        labelled[:, 1 : self.known] = True
        return labelled
