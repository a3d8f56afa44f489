"""What torch's global generator, from which dropout draws, gives in the loops over tasks."""

import json
import os
import subprocess
import sys

import pytest
import torch

from myosotis.engine.seeding import derive_seed

SCRIPT = """
import json, sys
import torch
from torch import nn
from myosotis.continual.classification.methods import build_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.methods import build_learner as build_segment_learner
from myosotis.continual.segmentation.scenario import class_incremental_segmentation
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.continual.segmentation.training import learn_segments
from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.measuring import ProbeSettings
from myosotis.continual.selfsupervised.methods import build_learner as build_ssl_learner
from myosotis.continual.selfsupervised.training import SslSettings, learn_representations
from myosotis.data.images import ImageSet
from myosotis.data.masks import resident
from myosotis.engine.processes import is_main_process, share
from myosotis.models.backbone import build_backbone
from myosotis.models.image_classifier import ClassifierSpec
from myosotis.models.segmenter import SegmenterSpec, build_segmenter

is_main_process()  # connects the processes
torch.set_num_threads(1)

def watched(net):
    seen = []
    net.register_forward_pre_hook(lambda module, _: seen.append(torch.rand(2).tolist()) if module.training else None)
    return seen

labels = torch.arange(2).repeat_interleave(8)
pixels = torch.randint(0, 256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
images = ImageSet(pixels, labels, tuple(f"i{n}" for n in range(16)), ("a", "b"))
stream = class_incremental(images, 1, 1, test=images, order_seed=0)
found = {}

body = {"widths": [4], "blocks": [1], "stem_stride": 2}
spec = ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.2,), body, ("a", "b"))
learner = build_learner("finetune", None, lambda seed: build_backbone(spec, seed=seed), 0)
found["classification"] = watched(learner.net)
learn_classes(learner, stream, ExemplarMemory(total=0), TrainSettings(epochs=1, batch_size=8))

masks = [torch.full((8, 8), 1 + n % 2, dtype=torch.uint8) for n in range(16)]
masked = resident([one for one in pixels], masks, images.names, ("a", "b"))
spec = SegmenterSpec("own", "small-segmenter", 1, (0.5,), (0.2,), {"widths": [4, 4, 4], "dilations": [1]})
learner = build_segment_learner("finetune", None, lambda seed: build_segmenter(spec, seed=seed), 0)
found["segmentation"] = watched(learner.net)
segments = class_incremental_segmentation(masked, masked, 1, 1, kind="disjoint")
learn_segments(learner, segments, SegmentationMemory(0), SegmentationSettings(iterations=1, batch_size=8))

encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
learner = build_ssl_learner("finetune", {}, build_base("simclr", {"dim": 4, "hidden": 4}), encoder, 4, 0)
found["selfsupervised"] = watched(learner.net)
settings = SslSettings(epochs=1, batch_size=8)
learn_representations(learner, stream, ExemplarMemory(total=0), settings, ProbeSettings(), shown=0)

with open(f"{sys.argv[1]}-{share()[0]}.json", "w") as out:
    json.dump(found, out)
"""


def draws(place, processes):
    """The first draw of each loop in each process, of the first and of the second task."""
    (place / "script.py").write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [*command, place / "script.py", place / "draws"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        timeout=200,
        check=False,
    )
    paths = [place / f"draws-{rank}.json" for rank in range(processes)]
    assert all(path.is_file() for path in paths), done.stderr
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.slow
def test_processes_draw_apart_and_the_first_one_as_a_single_one(tmp_path):
    """All processes used to have the same masks."""
    (single,) = draws(tmp_path, 1)
    first, second = draws(tmp_path, 2)
    keys = {
        "classification": lambda task: (derive_seed(0, "task", task, "learn"), "dropout", 0),
        "segmentation": lambda task: (0, "dropout", task, 0),
        "selfsupervised": lambda task: (0, "dropout", task, 0),
    }
    for name, key in keys.items():
        per_task = len(single[name]) // 2
        for task in (0, 1):
            at = task * per_task
            wanted = torch.rand(2, generator=torch.Generator().manual_seed(derive_seed(*key(task)))).tolist()
            assert single[name][at] == first[name][at] == wanted
            assert second[name][at] != wanted
