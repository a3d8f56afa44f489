"""How much of a task earlier tasks have trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Reappearance:
    """How often images reappear.

    Attributes:
        images: Number of images of each task.
        repeated_images: Share of all distinct images that are in more than one task.
        seen_images: Share of the images of each task that an earlier one has trained on; 0 for the first.
        old_pixels: Pixels of classes of earlier tasks in the images of each task.
        seen_old_pixels: Share of them that an earlier task has trained on with that label; None without such pixels.
        future_pixels: Pixels of classes of later tasks in the images of each task, where they are background.
    """

    images: list[int]
    repeated_images: float
    seen_images: list[float]
    old_pixels: list[int]
    seen_old_pixels: list[float | None]
    future_pixels: list[int]


def reappearance_report(
    tasks: Sequence[Sequence[str]],
    image_ids: Sequence[str],
    areas: Int[Tensor, "n values"],
    task_classes: Sequence[Sequence[int]],
) -> Reappearance:
    """Return how much of each task earlier tasks have trained on.

    Args:
        tasks: Images of each task, see :func:`assign_images`.
        image_ids: Names of all images.
        areas: Number of pixels of each value in each image.
        task_classes: Classes of each task.
    """
    row_of = {name: row for row, name in enumerate(image_ids)}
    times: dict[str, int] = {}
    seen_images, old_pixels, shares, future = [], [], [], []
    members = [set(names) for names in tasks]
    for number, names in enumerate(tasks):
        earlier = [label for classes in task_classes[:number] for label in classes]
        later = [label for classes in task_classes[number + 1 :] for label in classes]
        rows = areas[[row_of[name] for name in names]] if names else areas[:0]
        old_pixels.append(int(rows[:, earlier].sum()))
        future.append(int(rows[:, later].sum()))
        trained = 0
        for task, classes in enumerate(task_classes[:number]):
            repeated_rows = [row_of[name] for name in names if name in members[task]]
            trained += int(areas[repeated_rows][:, list(classes)].sum()) if repeated_rows else 0
        shares.append(trained / old_pixels[-1] if old_pixels[-1] else None)
        seen_images.append(sum(name in times for name in names) / len(names) if names else 0.0)
        for name in names:
            times[name] = times.get(name, 0) + 1
    repeated = sum(count > 1 for count in times.values()) / len(times) if times else 0.0
    return Reappearance([len(names) for names in tasks], repeated, seen_images, old_pixels, shares, future)
