"""Forgetting in a learner of a stream, which goes on afterwards."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from myosotis.continual.classification.continuation import exemplar_digest
from myosotis.continual.classification.saved import load_learner
from myosotis.data.image_folders import read_image_folder

ORDER = ["elm", "ash", "hazel", "birch", "fir", "cedar"]
METHODS = ("finetune", "er", "icarl", "wa", "bic", "dark_er", "ewc", "lucir", "podnet", "der_expand", "foster")
WITH_MEMORY = [name for name in METHODS if name not in ("finetune", "ewc")]
METHOD = {"method": {"name": "finetune"}, "training": {"learning_rate": 0.05, "epochs": 1, "max_steps": 3}}
"""A method that trains whether or not an image is known, for these learners know little."""


@pytest.fixture(scope="module")
def world(stream_world):
    return stream_world


def run_job(invoke, folder, content, name, status=0):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    done = invoke("run", str(folder / f"{name}.yaml"), "--out", str(folder / name))
    assert done.exit_code == status, done.output
    return done.output if status else folder / name


@pytest.fixture(scope="module")
def begun(world, invoke, tmp_path_factory, stream_job):
    """Function from a method to a run that has learnt four of six classes by it."""
    runs = {}

    def begun(method):
        if method not in runs:
            folder = tmp_path_factory.mktemp(f"begun-{method}")
            content = stream_job(world, method, ORDER[:4], data={"only": sorted(ORDER[:4])})
            runs[method] = run_job(invoke, folder, content, "begun")
        return runs[method]

    return begun


@pytest.fixture
def forget(invoke, tmp_path):
    def forget(content, name="gone", status=0):
        return run_job(invoke, tmp_path, content, name, status)

    return forget


@pytest.fixture
def learn(invoke, tmp_path):
    def learn(content, name="rest", status=0):
        return run_job(invoke, tmp_path, content, name, status)

    return learn


def exemplars(run, world):
    """The names of the training images that are exemplars of a run, by class."""
    stored = json.loads((run / "stream.json").read_text())
    images = read_image_folder(world / "train")
    found = set(stored["exemplars"].values())
    names = {}
    for index, name in enumerate(images.names):
        if exemplar_digest(stored["key"], images, index) in found:
            names.setdefault(images.classes[images.labels[index]], []).append(name)
    return names


def request(world, run, names, folder, **changes):
    """A job that forgets training images of the world, by name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world / "train" / name, folder / name)
    return {
        "job": "unlearn-learner",
        "name": "gone",
        "model": {"learner": str(run)},
        "data": {
            "forget": {"folder": str(folder)},
            "train": {"folder": str(world / "train")},
            "test": {"folder": str(world / "test")},
        },
        **METHOD,
        "audit": {"relearning": None, "copies": False},
        **changes,
    }


def two_of(run, world, kind="exemplars"):
    """An exemplar of a class and a second image of it, or two images that are no exemplars."""
    names = exemplars(run, world)
    if kind == "exemplars" and names:
        label = max(names, key=lambda label: len(names[label]))
        return names[label][:2]
    taken = {name for own in names.values() for name in own}
    return [name for name in (f"elm/{number:02d}.png" for number in range(8)) if name not in taken][:2]


def result(run):
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_a_learner_forgets_and_learns_on(method, begun, world, forget, learn, tmp_path, stream_job):
    run = begun(method)
    names = two_of(run, world)
    gone = forget(request(world, run, names, tmp_path / "out"))
    told = result(gone)
    assert told["kind"] == "unlearn-learner"
    assert told["images"]["remaining"] == 4 * 8 - 2
    assert told["lineage"]["model_in"] == result(run)["lineage"]["model_out"]
    assert told["lineage"]["model_out"] != told["lineage"]["model_in"]
    # None of them is an exemplar, and every slot is taken again; the reservoir of dark_er waits for the next task.
    if method in WITH_MEMORY:
        assert not {name for own in exemplars(gone, world).values() for name in own} & set(names)
        left = told["learner"]["exemplars_before"] - told["learner"]["exemplars_after"]
        assert left == (2 if method == "dark_er" else 0)
    learner, spec = load_learner(gone / "model")
    assert learner.model_hash() == told["lineage"]["model_out"]
    assert spec.sizes == (2, 2)
    # The stream goes on, refuses them, and leaves them out.
    rest = stream_job(world, method, ORDER[4:], continue_from=str(gone))
    assert "2 of its images were forgotten in gone" in learn(rest, "refused", status=2)
    after = result(learn({**rest, "forgotten": "drop"}))
    assert len(after["matrix"]) == 3
    assert after["samples"]["forgotten"] == 2
    assert [entry["images"] for entry in after["requests"]] == [2]


def test_a_check_measures_the_features_of_a_learner(begun, world, invoke, tmp_path):
    run = begun("er")
    content = request(world, run, two_of(run, world), tmp_path / "out")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    done = invoke("check", tmp_path / "job.yaml", "--out", tmp_path / "run", "--no-time")
    assert done.exit_code == 0, done.output
    assert "overlap of features: cosine with the nearest to keep " in done.stdout


def test_no_file_of_the_run_holds_a_forgotten_exemplar(begun, world, forget, tmp_path):
    run = begun("er")
    names = two_of(run, world)
    gone = forget(request(world, run, names, tmp_path / "out"))
    images = read_image_folder(tmp_path / "out")
    old = json.loads((run / "stream.json").read_text())
    digests = [exemplar_digest(old["key"], images, index).encode() for index in range(len(images))]
    pixels = [image.numpy().tobytes() for image in images.images]
    files = [path.read_bytes() for path in sorted(gone.rglob("*")) if path.is_file()]
    assert any(digest in (run / "stream.json").read_bytes() for digest in digests)
    for trace in (*digests, *pixels, *((tmp_path / "out" / name).read_bytes() for name in names)):
        assert not any(trace in content for content in files)


def test_the_means_of_icarl_are_those_of_the_exemplars_that_are_left(begun, world, forget, tmp_path):
    run = begun("icarl")
    gone = forget(request(world, run, two_of(run, world), tmp_path / "out"))
    learner, spec = load_learner(gone / "model")
    images, left = read_image_folder(world / "train"), exemplars(gone, world)
    for label, name in enumerate(spec.backbone.classes[:4]):
        rows = [images.names.index(one) for one in left[name]]
        with torch.no_grad():
            features = learner.net(images.subset(rows).pixels()).features
        mean = sum(row / row.norm() for row in features.double()) / len(rows)
        torch.testing.assert_close(learner.means[label].double(), mean / mean.norm(), rtol=1e-5, atol=1e-6)


def test_the_reservoir_holds_no_logits_of_what_was_forgotten(begun, world, forget, tmp_path):
    run = begun("dark_er")
    gone = forget(request(world, run, two_of(run, world), tmp_path / "out"))
    before, after = (load_file(path / "model" / "method.safetensors") for path in (run, gone))
    assert len(before["indices"]) - len(after["indices"]) == 2
    assert len(after["logits"]) == len(after["indices"])
    kept = torch.isin(before["indices"], after["indices"])
    torch.testing.assert_close(after["logits"], before["logits"][kept], equal_nan=True)
    assert result(gone)["learner"]["logits_forgotten"] == 2


def test_what_is_no_exemplar_leaves_the_memory_alone(begun, world, forget, tmp_path):
    run = begun("er")
    gone = forget(request(world, run, two_of(run, world, "others"), tmp_path / "out"))
    memories = [json.loads((path / "stream.json").read_text())["memory"] for path in (run, gone)]
    assert memories[0] == memories[1]
    assert result(gone)["learner"]["exemplars_forgotten"] == {}


def test_slots_stay_empty_on_request(begun, world, forget, tmp_path):
    run = begun("er")
    gone = forget(request(world, run, two_of(run, world), tmp_path / "out", refill=False))
    assert result(gone)["learner"]["exemplars_after"] == result(gone)["learner"]["exemplars_before"] - 2


def test_slots_stay_empty_where_images_were_held_out(world, invoke, forget, tmp_path, stream_job):
    content = stream_job(
        world,
        "er",
        ORDER[:4],
        data={"only": sorted(ORDER[:4])},
        scenario={"validation": 0.25},
    )
    run = run_job(invoke, tmp_path, content, "held")
    gone = forget(request(world, run, two_of(run, world), tmp_path / "out"))
    assert result(gone)["learner"]["exemplars_refilled"] == {}


def test_the_same_photo_under_another_class_leaves_the_memory(begun, world, forget, tmp_path):
    run = begun("er")
    names = exemplars(run, world)
    mine, other = names["elm"][0], "ash"
    (tmp_path / "out" / other).mkdir(parents=True)
    shutil.copy(world / "train" / mine, tmp_path / "out" / other / "sly.png")
    gone = forget(request(world, run, [], tmp_path / "out"))
    assert result(gone)["learner"]["exemplars_forgotten"] == {"elm": 1}


def test_a_class_whose_exemplars_all_go(begun, world, forget, tmp_path):
    run = begun("icarl")
    names = exemplars(run, world)["elm"]
    refused = forget(request(world, run, names, tmp_path / "out", refill=False), status=2)
    assert "icarl needs 1 exemplars of every class, and 'elm' would have 0" in refused
    assert not (tmp_path / "gone").exists()
    gone = forget(request(world, run, names, tmp_path / "out"))
    assert result(gone)["learner"]["exemplars_refilled"] == {"elm": len(names)}
    # Without its exemplars, er simply replays none of that class.
    gone = forget(
        request(world, begun("er"), exemplars(begun("er"), world)["elm"], tmp_path / "more", refill=False), "er"
    )
    assert result(gone)["learner"]["exemplars_after"] < result(gone)["learner"]["exemplars_before"]


def test_requests_one_after_another(begun, world, forget, learn, tmp_path, stream_job):
    run = begun("icarl")
    first = forget(request(world, run, ["elm/00.png"], tmp_path / "one"), "first")
    second = forget(request(world, first, ["ash/03.png"], tmp_path / "two", name="second"), "second")
    stored = json.loads((second / "stream.json").read_text())
    assert len(stored["forgotten"]["images"]) == 2
    assert [entry["images"] for entry in stored["requests"]] == [1, 1]
    rest = stream_job(world, "icarl", ORDER[4:], continue_from=str(second), forgotten="drop")
    assert result(learn(rest))["samples"]["forgotten"] == 2


def test_a_later_request_neither_trains_on_nor_remembers_what_was_forgotten_before(begun, world, forget, tmp_path):
    run = begun("er")
    first_names = [*exemplars(run, world)["elm"], "elm/07.png"]
    first = forget(request(world, run, first_names, tmp_path / "one", refill=False), "first")
    # Of elm there are two images left at most, and the folder still holds all eight.
    left = [name for name in (f"elm/{number:02d}.png" for number in range(8)) if name not in first_names]
    again = request(world, first, ["ash/00.png"], tmp_path / "two", name="second")
    second = forget(again, "second")
    assert result(second)["images"]["remaining"] == 4 * 8 - len(set(first_names)) - 1
    assert set(exemplars(second, world).get("elm", [])) <= set(left)


def test_the_pixels_of_a_forgotten_photo_do_not_stay_under_another_class(begun, world, forget, tmp_path):
    folder = tmp_path / "train"
    shutil.copytree(world / "train", folder)
    shutil.copy(world / "train" / "elm" / "00.png", folder / "ash" / "sly.png")
    content = request(world, begun("er"), ["elm/00.png"], tmp_path / "out")
    content["data"]["train"]["folder"] = str(folder)
    assert result(forget(content))["images"]["remaining"] == 4 * 8 - 1


def test_a_second_audit_reproduces_the_figures(begun, world, forget, invoke, tmp_path):
    gone = forget(request(world, begun("icarl"), ["elm/00.png"], tmp_path / "one"))
    done = invoke("audit", "classifier", str(gone))
    assert done.exit_code == 0, done.output
    weights = load_file(gone / "model" / "net.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    save_file({**weights, name: weights[name] + 0.5}, gone / "model" / "net.safetensors")
    assert invoke("audit", "classifier", str(gone)).exit_code == 1


def test_an_interrupted_run_ends_the_same(begun, world, forget, invoke, tmp_path):
    run = begun("icarl")
    content = request(world, run, two_of(run, world), tmp_path / "out")
    gone = forget(content)
    whole = result(gone)
    for name in ("result.json", "stream.json", "model"):
        path = gone / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = invoke("run", str(tmp_path / "gone.yaml"), "--out", str(gone), "--resume")
    assert done.exit_code == 0, done.output
    again = result(gone)
    assert again["lineage"] == whole["lineage"]
    assert again["learner"] == whole["learner"]
    assert again["metrics"] == whole["metrics"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"epochs": 1}}, "'train' teaches a new model"),
        ({"reference": "retrain"}, "'reference: retrain' would learn the whole stream again"),
        ({"keep_original": True}, "'keep_original' has no effect"),
        ({"method": {"name": "retrain"}}, "method 'retrain' would learn the whole stream again"),
        ({"audit": {"shadow": 3}}, "shadow models need 'train'"),
    ],
)
def test_what_a_learner_cannot_do_is_refused(changes, message, begun, world, forget, tmp_path):
    assert message in forget(request(world, begun("er"), ["elm/00.png"], tmp_path / "out", **changes), status=2)
    assert not (tmp_path / "gone").exists()


def test_icarl_needs_its_exemplars(begun, world, forget, tmp_path):
    content = request(world, begun("icarl"), ["elm/00.png"], tmp_path / "out")
    del content["data"]["train"]
    content["method"] = {"name": "neggrad"}
    assert "of stream are not in data.train, which must hold them" in forget(content, status=2)


def test_a_head_of_sums_is_forgotten_exactly(begun, world, forget, tmp_path):
    refused = forget(request(world, begun("ranpac"), ["elm/00.png"], tmp_path / "out"), status=2)
    assert "ranpac trains nothing, its head is made of sums: 'unlearn-exact' is for those" in refused


def test_what_is_no_run_of_a_learner_is_refused(begun, world, forget, tmp_path):
    missing = forget(request(world, tmp_path / "nothing", ["elm/00.png"], tmp_path / "out"), status=2)
    assert "model.learner" in missing
    assert "no such run" in missing
    inner = forget(request(world, begun("er") / "model", ["elm/00.png"], tmp_path / "out"), status=2)
    assert "is not a run" in inner or "not finished" in inner


def test_an_image_of_a_class_that_was_not_learnt_is_refused(begun, world, forget, tmp_path):
    refused = forget(request(world, begun("er"), ["fir/00.png"], tmp_path / "out"), status=2)
    assert "forget set: the model has no class 'fir'" in refused


def test_a_reference_is_a_learner_of_the_same_classes(begun, world, forget, invoke, tmp_path, stream_job):
    out = request(world, begun("er"), ["elm/00.png"], tmp_path / "out")
    told = result(forget({**out, "reference": str(begun("finetune"))}))
    assert "reference" in told["metrics"]
    content = stream_job(world, "er", ORDER[:2], data={"only": sorted(ORDER[:2])})
    other = run_job(invoke, tmp_path, content, "fewer")
    assert "reference" in forget({**out, "reference": str(other)}, "refused", status=2)


@pytest.mark.parametrize("preset", ["recommended", "as_unseen"])
def test_a_preset_and_its_comparison(begun, world, forget, tmp_path, preset):
    content = request(world, begun("icarl"), ["elm/00.png"], tmp_path / "out")
    del content["method"], content["training"]
    content |= {
        "preset": preset,
        "training": {"max_steps": 2},
        "compare": [{"method": {"name": "scrub"}, "training": {"epochs": 1}}],
    }
    told = result(forget(content))
    assert [variant["method"] for variant in told["variants"]] == ["scrub"]


def test_the_report_says_what_the_learner_stores(begun, world, forget, tmp_path):
    run = begun("ewc")
    gone = forget(request(world, run, ["elm/00.png"], tmp_path / "out"))
    page = (gone / "report.html").read_text()
    assert "The importance of the weights was summed over training samples" in page
    assert "The learner" in page


def test_the_limit_draws_what_the_stream_drew(world, invoke, forget, tmp_path, stream_job):
    content = stream_job(world, "icarl", ORDER, data={"limit": 20})
    content["memory"] = {"total": 12}
    run = run_job(invoke, tmp_path, content, "limited")
    job = request(world, run, [], tmp_path / "none")
    job["data"] |= {"forget": {"count": 3}, "limit": 20}
    # The exemplars of icarl, which it needs, are among these 20.
    assert result(forget(job))["images"]["remaining"] == 17


def test_a_draft_and_its_check(begun, world, forget, invoke, tmp_path):
    run = begun("er")
    request(world, run, two_of(run, world), tmp_path / "out")
    words = ("init", "unlearn-learner", tmp_path / "out", run, world / "test", world / "train")
    done = invoke(*words, "--out", tmp_path / "request.yaml")
    assert done.exit_code == 0, done.output
    done = invoke("check", tmp_path / "request.yaml", "--no-time", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    done = invoke("init", "unlearn-learner", tmp_path / "out", begun("ranpac"), "--out", tmp_path / "other.yaml")
    assert done.exit_code == 2
    assert "its head is made of sums" in done.output


def test_photos_of_another_size_would_not_be_recognised(begun, world, forget, tmp_path):
    from PIL import Image

    content = request(world, begun("er"), ["elm/00.png"], tmp_path / "out")
    del content["data"]["train"], content["data"]["test"]
    content["method"] = {"name": "neggrad"}
    path = tmp_path / "out" / "elm" / "00.png"
    Image.open(path).resize((20, 20)).save(path)
    assert "data.forget: the images are 1x20x20 (channels, height, width), stream learned them as" in forget(
        content, status=2
    )
