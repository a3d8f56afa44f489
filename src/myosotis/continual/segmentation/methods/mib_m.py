"""MiB-M: MiB with exemplars whose masks are taken as complete."""

from myosotis.continual.segmentation.methods.mib import MiB, MiBSettings
from myosotis.engine.method import MethodCard


class MiBM(MiB):
    """``L = ½ UCE(current) + ½ CE(memory) + λ UKD``: the background of an exemplar counts as background."""

    card = MethodCard(
        "mib_m",
        "MiB-M",
        "Cermelli et al., CVPR 2020; memory as in Kwak, Cha, Moon, ECCV 2024",
        "current task, exemplars",
        "exemplars with their masks, the old network",
        "Exemplars with plain cross-entropy, background included.",
    )
    Settings = MiBSettings
    reads_memory = True
