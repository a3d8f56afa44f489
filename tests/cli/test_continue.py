"""A stream that goes on from a finished run, and from a forgetting in one."""

import json
import shutil
import stat

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file

from myosotis.api import load

OPTIONS = {"widths": [4, 8], "blocks": [1, 1]}
ORDER = ["elm", "ash", "hazel", "birch", "fir", "cedar"]
METHODS = ("finetune", "er", "icarl", "wa", "bic", "dark_er", "ewc", "der_expand", "foster", "ranpac", "joint")


@pytest.fixture(scope="module")
def world(stream_world):
    return stream_world


@pytest.fixture(scope="module")
def job(stream_job):
    def job(world, method, **changes):
        return stream_job(world, method, ORDER, **changes)

    return job


@pytest.fixture
def learn(tmp_path, invoke):
    def learn(content, name, status=0):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = invoke("run", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / name))
        assert done.exit_code == status, done.output
        return done.output if status else tmp_path / name

    return learn


@pytest.fixture
def halves(job, learn):
    """Function to a run of the first classes, and a job that goes on from it with the others."""

    def halves(world, begun_by, first=4, train=None, **changes):
        learnt = ORDER[:first]
        run = learn(job(world, begun_by, data={"only": sorted(learnt)}, scenario={"class_order": learnt}), "begun")
        going_on = {"scenario": {"class_order": ORDER[first:]}, "continue_from": str(run), **changes}
        rest = job(world, going_on.pop("method", {"name": begun_by})["name"], **going_on)
        if train is not None:
            rest["data"]["train"]["folder"] = str(train)
        return run, rest

    return halves


@pytest.fixture(autouse=True)
def one_key(monkeypatch):
    """Digests of learners that forget exactly are compared, and those are equal under the same key only."""
    monkeypatch.setattr("myosotis.exact.classifier.new_key", lambda: bytes(32))


def result(run):
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_two_halves_are_one_whole_to_the_bit(method, world, learn, halves, job):
    whole = learn(job(world, method), "whole")
    _, rest = halves(world, method)
    run = learn(rest, "rest")
    assert result(run)["matrix"] == result(whole)["matrix"]
    assert result(run)["tasks"] == result(whole)["tasks"]
    assert result(run)["lineage"]["model_out"] == result(whole)["lineage"]["model_out"]
    for name in sorted({path.name for path in (whole / "model").glob("*.safetensors")} - {"records.safetensors"}):
        one, other = load_file(whole / "model" / name), load_file(run / "model" / name)
        assert sorted(one) == sorted(other)
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=0, equal_nan=True, msg=f"{name}: {key}")


def test_only_the_exemplars_of_old_classes_are_needed(world, learn, tmp_path, halves):
    run, rest = halves(world, "icarl")
    whole = learn(rest, "with-all")
    stored = json.loads((run / "stream.json").read_text())
    folder = tmp_path / "fewer"
    shutil.copytree(world / "train", folder)
    from myosotis.continual.classification.continuation import exemplar_digest
    from myosotis.data.image_folders import read_image_folder

    images = read_image_folder(folder)
    wanted = set(stored["exemplars"].values())
    for index, name in enumerate(images.names):
        if (
            images.classes[images.labels[index]] in ORDER[:4]
            and exemplar_digest(stored["key"], images, index) not in wanted
        ):
            (folder / name).unlink()
    rest["data"]["train"]["folder"] = str(folder)
    fewer = learn(rest, "with-exemplars")
    assert result(fewer)["lineage"]["model_out"] == result(whole)["lineage"]["model_out"]


@pytest.mark.parametrize("method", ["ranpac", "finetune"])
def test_a_method_without_exemplars_needs_no_image_of_old_classes(method, world, learn, tmp_path, invoke, halves, job):
    whole = learn(job(world, method), "whole")
    for name in ORDER[4:]:
        shutil.copytree(world / "train" / name, tmp_path / "new" / name)
    _, rest = halves(world, method, train=tmp_path / "new")
    run = learn(rest, "rest")
    assert result(run)["matrix"] == result(whole)["matrix"]
    assert result(run)["lineage"]["model_out"] == result(whole)["lineage"]["model_out"]
    assert result(run)["samples"]["train"] == [0, 0, 16]
    done = invoke("check", str(tmp_path / "rest.yaml"), "--out", str(tmp_path / "checked"))
    assert done.exit_code == 0, done.output


def test_joint_training_needs_the_images_of_earlier_tasks(world, learn, tmp_path, halves):
    for name in ORDER[2:]:
        shutil.copytree(world / "train" / name, tmp_path / "new" / name)
    _, rest = halves(world, "joint")
    rest["data"]["train"]["folder"] = str(tmp_path / "new")
    assert "'joint' learns the earlier tasks again, and there is no image of 'elm'" in learn(rest, "rest", status=2)


def test_a_missing_exemplar_is_said(world, learn, tmp_path, halves):
    folder = tmp_path / "fewer"
    shutil.copytree(world / "train", folder)
    for path in (folder / "elm").iterdir():
        if path.name != "00.png":
            path.unlink()
    _, rest = halves(world, "er", train=folder)
    assert "exemplars of stream are not among data.train" in learn(rest, "rest", status=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"name": "er"}, "memory": {"total": 12}}, "'method' was"),
        ({"seed": 3}, "'seed' was 0, is 3"),
        ({"norm": "gn"}, "'norm' was"),
        ({"memory": {"total": 18}}, "'memory' was"),
        ({"model": {"options": {"widths": [8, 8], "blocks": [1, 1]}}}, "'model' was"),
        ({"model": {"image_size": 16}}, "'model' was"),
        ({"model": {"std": [0.3]}}, "'model' was"),
        ({"scenario": {"class_order": ["fir", "cedar", "ash"]}}, "has learnt 'ash' already, in another position"),
        ({"data": {"only": ["ash", "birch", "elm", "fir", "cedar"]}}, "the class 'hazel' of stream has no test images"),
        ({"forgotten": "drop", "continue_from": None}, "'forgotten' belongs to 'continue_from'"),
    ],
)
def test_another_stream_is_refused(changes, message, world, learn, halves):
    _, rest = halves(world, "icarl", **changes)
    assert message in learn(rest, "rest", status=2)


def test_images_of_another_size_are_refused(world, learn, halves):
    _, rest = halves(world, "ranpac")
    for part in ("train", "test"):
        rest["data"][part]["size"] = 12
    assert "data.train: the images are 1x12x12 (channels, height, width), stream learned them as" in learn(
        rest, "rest", status=2
    )


def test_what_is_no_run_is_refused(world, learn, tmp_path, job):
    rest = job(world, "er", continue_from=str(tmp_path / "nothing"))
    assert "no such run" in learn(rest, "rest", status=2)


def test_a_damaged_stream_is_refused(world, learn, halves):
    run, rest = halves(world, "er")
    (run / "stream.json").write_text('{"records": []}')
    assert "stream.json: damaged or edited" in learn(rest, "rest", status=2)
    (run / "digests.json").unlink()
    assert "stream.json is damaged" in learn(rest, "rest", status=2)


def test_the_stream_is_the_owners_alone(world, learn, halves):
    run, _ = halves(world, "er")
    assert stat.S_IMODE((run / "stream.json").stat().st_mode) == 0o600


class TestForgotten:
    @pytest.fixture
    def forgotten(self, world, learn, tmp_path, invoke, halves):
        """A run that forgot three photos of a stream, and the job that goes on from it."""
        run, rest = halves(world, "ranpac")
        for name, number in (("elm", 1), ("elm", 4), ("ash", 0)):
            (tmp_path / "out" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(world / "train" / name / f"{number:02d}.png", tmp_path / "out" / name)
        forget = {"name": "gone", "model": {"learner": str(run)}, "data": {"forget": {"folder": str(tmp_path / "out")}}}
        (tmp_path / "gone.yaml").write_text(yaml.safe_dump({**forget, "job": "unlearn-exact"}))
        done = invoke("run", str(tmp_path / "gone.yaml"), "--out", str(tmp_path / "gone"))
        assert done.exit_code == 0, done.output
        return tmp_path / "gone", {**rest, "continue_from": str(tmp_path / "gone")}

    @pytest.fixture
    def forget_classes(self, world, learn, tmp_path, invoke, halves):
        """Function to a run that forgot all photos of classes, and the job that goes on from it."""

        def forget_classes(*names):
            run, rest = halves(world, "ranpac")
            for name in names:
                shutil.copytree(world / "train" / name, tmp_path / "all" / name)
            data = {"forget": {"folder": str(tmp_path / "all")}, "test": {"folder": str(world / "test")}}
            forget = {"job": "unlearn-exact", "name": "gone", "model": {"learner": str(run)}, "data": data}
            (tmp_path / "gone.yaml").write_text(yaml.safe_dump(forget))
            done = invoke("run", str(tmp_path / "gone.yaml"), "--out", str(tmp_path / "gone"))
            assert done.exit_code == 0, done.output
            return tmp_path / "gone", {**rest, "continue_from": str(tmp_path / "gone"), "forgotten": "drop"}

        return forget_classes

    @pytest.mark.parametrize(
        ("names", "sizes"), [(["ash"], [1, 2]), (["elm", "ash"], [2]), (["elm", "ash", "hazel", "birch"], [])]
    )
    def test_a_class_goes_from_the_learner_and_its_stream(self, names, sizes, forget_classes, learn):
        gone, rest = forget_classes(*names)
        left = [name for name in ORDER[:4] if name not in names]
        content = json.loads((gone / "model/learner.json").read_text())
        assert content["sizes"] == sizes
        assert content["backbone"]["classes"][: sum(sizes)] == left
        assert load(gone).classes == tuple(left)
        run = learn(rest, "rest")  # its images are there, but all of them were forgotten
        assert result(run)["classes"] == [*left, *ORDER[4:]]
        assert [len(task) for task in result(run)["tasks"]] == [*sizes, 2]
        assert [len(row) for row in result(run)["matrix"]] == list(range(1, len(sizes) + 2))
        assert load(run).classes == (*left, *ORDER[4:])
        assert "The life of this learner" in (run / "report.html").read_text()

    def test_a_class_that_went_can_be_learned_again(self, forget_classes, world, learn, tmp_path, job):
        _, rest = forget_classes("ash")
        folder = tmp_path / "again"
        shutil.copytree(world / "train", folder)
        for path in (folder / "ash").iterdir():
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)  # other photos of the class
        rest["data"]["train"]["folder"] = str(folder)
        rest["scenario"] |= {"class_order": ["fir", "cedar", "ash"], "first": 2, "per_task": 1}
        run = learn(rest, "rest")
        assert result(run)["classes"] == ["elm", "hazel", "birch", "fir", "cedar", "ash"]
        never = job(world, "ranpac")
        never["data"]["train"]["folder"] = str(folder)
        clean = learn(never, "never")
        for name in ("statistics.safetensors", "head.safetensors"):
            assert (run / "model" / name).read_bytes() == (clean / "model" / name).read_bytes()

    def test_test_images_of_a_class_that_went_are_left_out(self, forget_classes, world, learn, tmp_path):
        _, rest = forget_classes("ash")
        for name in ORDER[4:]:
            shutil.copytree(world / "train" / name, tmp_path / "new" / name)
        rest["data"]["train"]["folder"] = str(tmp_path / "new")
        assert result(learn(rest, "rest"))["classes"] == ["elm", "hazel", "birch", "fir", "cedar"]

    def test_what_was_forgotten_is_refused(self, forgotten, learn):
        output = learn(forgotten[1], "rest", status=2)
        assert "3 of its images were forgotten in gone" in output
        assert "'forgotten: drop' leaves them out" in output

    def test_under_another_class_and_name_too(self, forgotten, world, learn, tmp_path):
        folder = tmp_path / "sly"
        shutil.copytree(world / "train", folder)
        shutil.move(folder / "elm" / "01.png", folder / "fir" / "new.png")
        for name, number in (("elm", 4), ("ash", 0)):
            (folder / name / f"{number:02d}.png").unlink()
        _, rest = forgotten
        rest["data"]["train"]["folder"] = str(folder)
        assert "1 of its images were forgotten in gone, fir/new.png first" in learn(rest, "rest", status=2)

    def test_a_copy_with_other_bytes_is_recognised_by_its_pixels(self, forgotten, world, learn, tmp_path):
        folder = tmp_path / "again"
        shutil.copytree(world / "train", folder)
        for name, number in (("elm", 4), ("ash", 0)):
            (folder / name / f"{number:02d}.png").unlink()
        with Image.open(folder / "elm/01.png") as picture:  # with metadata, and in another format
            metadata = PngInfo()
            metadata.add_text("comment", "mine")
            picture.save(folder / "elm/02.png", pnginfo=metadata)
            picture.save(folder / "fir/new.bmp")
        (folder / "elm/01.png").unlink()
        _, rest = forgotten
        rest["data"]["train"]["folder"] = str(folder)
        assert "2 of its images were forgotten in gone, elm/02.png first" in learn(rest, "rest", status=2)
        assert result(learn({**rest, "forgotten": "drop"}, "rest"))["samples"]["forgotten"] == 2

    def test_a_file_that_is_decoded_otherwise_is_recognised_by_its_bytes(self, halves, world, learn, tmp_path, invoke):
        folder = tmp_path / "train"
        shutil.copytree(world / "train", folder)
        with Image.open(folder / "elm/01.png") as picture:
            picture.putalpha(Image.new("L", picture.size, 100))
            picture.save(folder / "elm/01.png")
        run, rest = halves(world, "ranpac", data={"train": {"folder": str(folder)}})
        begun = yaml.safe_load((run / "config.yaml").read_text())
        begun["data"]["train"]["folder"] = str(folder)
        run = learn(begun, "with-alpha")
        (tmp_path / "out/elm").mkdir(parents=True)
        shutil.copy(folder / "elm/01.png", tmp_path / "out/elm")
        forget = {"name": "gone", "model": {"learner": str(run)}, "data": {"forget": {"folder": str(tmp_path / "out")}}}
        (tmp_path / "gone.yaml").write_text(yaml.safe_dump({**forget, "job": "unlearn-exact"}))
        done = invoke("run", str(tmp_path / "gone.yaml"), "--out", str(tmp_path / "gone"))
        assert done.exit_code == 0, done.output
        # On a black background its pixels are others.
        rest["data"]["train"] = {"folder": str(folder), "background": 0}
        rest["continue_from"] = str(tmp_path / "gone")
        assert "1 of its images were forgotten in gone, elm/01.png first" in learn(rest, "rest", status=2)
        after = learn({**rest, "forgotten": "drop"}, "rest")
        assert result(after)["samples"]["forgotten"] == 1
        assert len(json.loads((after / "stream.json").read_text())["forgotten"]["files"]) == 1

    def test_dropped_they_stay_forgotten(self, forgotten, world, learn, tmp_path, job):
        run = learn({**forgotten[1], "forgotten": "drop"}, "rest")
        assert result(run)["samples"]["forgotten"] == 3
        # The same bytes as a stream that never had them.
        folder = tmp_path / "without"
        shutil.copytree(world / "train", folder)
        for path in (tmp_path / "out").glob("*/*.png"):
            (folder / path.relative_to(tmp_path / "out")).unlink()
        never = job(world, "ranpac")
        never["data"]["train"]["folder"] = str(folder)
        clean = learn(never, "never")
        for name in ("statistics.safetensors", "head.safetensors"):
            assert (run / "model" / name).read_bytes() == (clean / "model" / name).read_bytes()

    def test_they_stay_on_the_list_of_the_next_run(self, forgotten, learn):
        run = learn({**forgotten[1], "forgotten": "drop"}, "rest")
        assert len(json.loads((run / "stream.json").read_text())["forgotten"]["images"]) == 3

    def test_the_life_of_the_learner_is_told(self, forgotten, learn, tmp_path):
        going_on = {**forgotten[1], "forgotten": "drop", "watch": {"folder": str(tmp_path / "out")}}
        run = learn(going_on, "rest")
        found = result(run)
        (request,) = found["requests"]
        assert (request["after"], request["images"], request["name"]) == (2, 3, "gone")
        assert request["forgotten_before"] is not None
        watched = [task["watched"] for task in found["tasks_in_detail"]]
        assert watched[:2] == [None, None]
        assert 0 <= watched[2] <= 1
        told = found["tasks_in_detail"][2]["watched_membership"]
        assert told["others"] == 8  # test images of elm and ash
        assert 0 <= told["auc"] <= 1
        assert told["low"] is None  # three images are too few for an interval
        report = (run / "report.html").read_text()
        assert (
            "The life of this learner. Steps: 1: task 1; 2: task 2; 3: 3 images forgotten (gone); 4: task 3." in report
        )
        # Watching changes nothing that is learnt.
        del going_on["watch"]
        assert result(learn(going_on, "unwatched"))["lineage"]["model_out"] == found["lineage"]["model_out"]

    def test_watched_images_of_an_unknown_class_are_refused(self, forgotten, learn, tmp_path):
        (tmp_path / "odd" / "yew").mkdir(parents=True)
        shutil.copy(tmp_path / "out" / "elm" / "01.png", tmp_path / "odd" / "yew")
        going_on = {**forgotten[1], "forgotten": "drop", "watch": {"folder": str(tmp_path / "odd")}}
        assert "watch: the stream has no class 'yew'" in learn(going_on, "rest", status=2)
