"""How much of a task earlier tasks have trained on."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from myosotis.continual.segmentation.result import Reappearance


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
    return Reappearance(
        images=[len(names) for names in tasks],
        repeated_images=repeated,
        seen_images=seen_images,
        old_pixels=old_pixels,
        seen_old_pixels=shares,
        future_pixels=future,
    )
