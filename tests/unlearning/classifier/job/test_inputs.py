import pytest
import torch

from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.engine.errors import InputError
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.inputs import NEAR, read_inputs


def config(folder, data, **further):
    job = {
        "name": "job",
        "model": {"architecture": "small-resnet"},
        "train": {},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, **data},
        **further,
    }
    return ClassifierUnlearningConfig.model_validate(job, context={"folder": folder})


def test_a_draw_depends_on_the_names_alone(folder):
    one = read_inputs(config(folder, {"forget": {"count": 3}}), ())
    assert one.classes == ("a", "b")
    assert set(one.forget.names) | set(one.remaining.names) == {f"{c}/{n}.png" for c in "ab" for n in range(4)}
    assert not set(one.forget.names) & set(one.remaining.names)
    assert read_inputs(config(folder, {"forget": {"count": 3}}), ()).forget.names == one.forget.names
    other = read_inputs(config(folder, {"forget": {"count": 3}}, seed=1), ())
    assert other.forget.names != one.forget.names


def test_labels_count_in_the_classes_of_the_model(folder):
    found = read_inputs(config(folder, {"forget": {"count": 3}}), ("b", "x", "a"))
    for images in (found.forget, found.remaining, found.test):
        assert {found.classes[label] for label in images.labels.tolist()} <= {"a", "b"}
        assert all(
            name.startswith(found.classes[label]) for name, label in zip(images.names, images.labels, strict=True)
        )
    with pytest.raises(InputError, match="no class 'b'"):
        read_inputs(config(folder, {"forget": {"count": 3}}), ("a", "c"))


def test_a_limit_shortens_the_training_set(folder):
    found = read_inputs(config(folder, {"forget": {"count": 2}, "limit": 5}), ())
    assert len(found.forget) + len(found.remaining) == 5
    with pytest.raises(InputError, match="8 images"):
        read_inputs(config(folder, {"forget": {"count": 2}, "limit": 9}), ())


def test_duplicates_are_told_apart_from_neighbours(folder, write):
    (folder / "list.txt").write_text("a/0.png\n")
    write(folder / "train", "a/equal.png", 0)
    write(folder / "train", "a/near.png", int(255 * NEAR) - 1)
    write(folder / "train", "a/far.png", int(255 * NEAR) + 2)
    found = read_inputs(config(folder, {"forget": {"list": "list.txt"}}), ())
    assert (found.same, found.near) == (1, 1)
    assert "a/equal.png" not in found.remaining.names
    assert {"a/near.png", "a/far.png"} <= set(found.remaining.names)


@pytest.mark.parametrize("source", ["list", "folder"])
def test_a_copy_under_another_class_does_not_remain(source, folder, write):
    """A method would train on the pixels that it is to forget."""
    (folder / "list.txt").write_text("a/0.png\n")
    write(folder / "asked", "a/0.png", 0)
    write(folder / "train", "b/copy.png", 0)
    given = {"list": "list.txt"} if source == "list" else {"folder": "asked"}
    found = read_inputs(config(folder, {"forget": given}), ())
    assert found.same == 1
    assert not {"a/0.png", "b/copy.png"} & set(found.remaining.names)
    assert len(found.remaining) == 7


def test_pixel_statistics_are_exact():
    images = torch.randint(0, 256, (7, 2, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, deviation = pixel_statistics(ImageSet(images, torch.zeros(7).long(), tuple("abcdefg"), ("x",)))
    values = images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(values.mean(dim=1).tolist())
    assert deviation == pytest.approx(values.std(dim=1, correction=0).tolist())
