from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.image_sets import ImageSets
from myosotis.unlearning.classifier.job.inputs import read_inputs


def sets(folder, names):
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names))
    job = {
        "name": "job",
        "model": {"architecture": "small-resnet"},
        "train": {},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, "forget": {"list": "list.txt"}},
    }
    config = ClassifierUnlearningConfig.model_validate(job, context={"folder": folder})
    return ImageSets(config, read_inputs(config, ()))


def test_a_class_is_forgotten_where_none_of_its_images_remains(folder):
    assert sets(folder, [f"b/{number}.png" for number in range(4)]).forgotten_classes == {1}
    assert sets(folder, ["a/0.png", *(f"b/{number}.png" for number in range(3))]).forgotten_classes == set()
