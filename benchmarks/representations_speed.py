"""What PNR costs beside plain MoCo, views of whole batches against lightly's of one image after another, and k-NN.

python benchmarks/representations_speed.py
pip install lightly && python benchmarks/representations_speed.py --lightly
"""

import argparse
import statistics
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.learner import SslBatch, SslTask
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.data.views import ViewSettings, two_views
from myosotis.evaluation.probe import knn_probe
from myosotis.models.image_classifier import ClassifierSpec, build_classifier

ROUNDS = 9


def median_of_pairs(one, other):
    """Median milliseconds of both, alternating, and of their ratio."""
    for call in (one, other):
        call()
    times = []
    for _ in range(ROUNDS):
        pair = []
        for call in (one, other):
            started = time.perf_counter()
            call()
            pair.append(time.perf_counter() - started)
        times.append(pair)
    first, second = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return first, second, statistics.median(pair[1] / pair[0] for pair in times)


def steps(arguments):
    """A step of plain MoCo and one of PNR in its second task, with everything that a step does but making views."""
    spec = ClassifierSpec("small-resnet", 0, 3, (0.5,) * 3, (0.25,) * 3, {"widths": [32, 64, 128], "blocks": [1, 1, 1]})
    views = torch.rand(2, arguments.batch, 3, 32, 32)
    batch = SslBatch((views[0], views[1]), torch.arange(arguments.batch), None, torch.empty(0, dtype=torch.long), 0)
    calls = []
    for method in ("finetune", "pnr"):
        base = build_base("moco", {"queue": arguments.queue})
        learner = build_learner(method, {}, base, build_classifier(spec, seed=0), 128, 0)
        look = lambda: iter([((views[0], views[1]), torch.arange(arguments.batch))] * 8)  # noqa: E731 - the task's batches
        learner.before_task(SslTask(0, look, lambda _: views[0]))
        learner.before_task(SslTask(1, look, lambda _: views[0]))
        for queue in (base.queue, getattr(learner, "past_queue", None)):
            if queue is not None:
                queue.reset("random")
        optimizer = torch.optim.SGD([one for one in learner.net.parameters() if one.requires_grad], lr=0.01)

        def step(learner=learner, optimizer=optimizer):
            sum(learner.loss(learner.net, batch).values()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            learner.after_update(0.5)

        calls.append(step)
    plain, pnr, ratio = median_of_pairs(*calls)
    print(f"a step of {arguments.batch} images of 32x32, queue {arguments.queue}, {torch.get_num_threads()} threads:")
    print(f"  MoCo {plain:.0f} ms, PNR over MoCo {pnr:.0f} ms, {ratio:.2f} times")


class Pictures(Dataset):
    """Pictures through a transform of one image."""

    def __init__(self, images, transform):
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return self.transform(self.images[place])


def views(arguments):
    """Pairs of views a second."""
    images = torch.randint(0, 256, (arguments.images, 3, 32, 32), dtype=torch.uint8)
    settings = ViewSettings(area=(0.2, 1.0), saturation=0.4, blur=(0.5, 0.5), solarise=(0.0, 0.0))
    stream = torch.Generator().manual_seed(0)

    def ours():
        for part in images.split(256):
            two_views(part, settings, stream)

    ours()
    started = time.perf_counter()
    for _ in range(3):
        ours()
    rate = 3 * arguments.images / (time.perf_counter() - started)
    print(f"views: {rate:.0f} pairs a second in this process, {torch.get_num_threads()} threads")
    if not arguments.lightly:
        return
    from lightly.transforms import MoCoV2Transform

    transform = MoCoV2Transform(input_size=32, min_scale=0.2, cj_strength=1.0, cj_hue=0.1, gaussian_blur=0.5)
    loader = DataLoader(Pictures(images, transform), 256, num_workers=2, persistent_workers=True)
    for _ in loader:  # starts the workers
        pass
    started = time.perf_counter()
    for _ in loader:
        pass
    theirs = arguments.images / (time.perf_counter() - started)
    print(f"views by lightly: {theirs:.0f} pairs a second in two worker processes; ours {rate / theirs:.1f} times")


def neighbours(voters=20_000, tests=4_000, size=512):
    """Seconds of one measurement by nearest neighbours."""
    draw = torch.Generator().manual_seed(0)
    (train, labels), (test, answers) = (
        (torch.randn(count, size, generator=draw), torch.randint(0, 100, (count,), generator=draw))
        for count in (voters, tests)
    )
    started = time.perf_counter()
    knn_probe(train, labels, test, answers)
    took = time.perf_counter() - started
    print(f"{tests} of {size} by {voters} neighbours: {took:.2f} s, {torch.get_num_threads()} threads")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--queue", type=int, default=4096)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--lightly", action="store_true")
    arguments = parser.parse_args()
    steps(arguments)
    views(arguments)
    neighbours()


if __name__ == "__main__":
    main()
