"""A job in one line of Python: what is in memory goes in, and the finished run comes out."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

import myosotis
from myosotis.data.people import fictitious_people
from myosotis.data.sources import read_digits
from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier

PEOPLE = fictitious_people(12, seed=5)
SHORT = {"goal": "misclassify", "method": "neggrad", "training": {"max_steps": 2}, "audit": {"relearning": None}}


def rows(people):
    return [record for person in people for record in person.records()]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory and a temporary one, of which nothing may stay."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "work"
    assert list((tmp_path / "temporary").glob("myosotis-*")) == []


@pytest.fixture(scope="module")
def digits():
    return read_digits()


def part(images, start, stop):
    """Images and labels as numpy has them."""
    return images.images[start:stop, 0].numpy(), images.labels[start:stop].numpy()


@pytest.fixture(scope="module")
def taught(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "run"
    return myosotis.learn(
        part(digits, 0, 300), test=part(digits, 300, 400), method="er", training={"epochs": 1}, out=folder
    )


def test_images_in_memory_are_learned(taught):
    assert taught.result.kind == "learn-classes"
    assert len(taught.model.classes) == 10
    assert set(taught.answers) == {"learnt", "kept"}
    assert (taught.path / "report.html").is_file()
    assert str(taught).startswith("Has it learnt?")
    assert repr(taught) == taught.report().headline()
    assert "<iframe" in taught._repr_html_()


def test_a_classifier_forgets_images_in_memory(taught, digits, elsewhere, capfd):
    done = myosotis.unlearn(
        taught.path,
        part(digits, 0, 6),
        retain=digits.subset(range(300)),
        unseen=part(digits, 300, 400),
        inputs="given",
        progress=False,
        **SHORT,
    )
    assert capfd.readouterr().err == ""
    assert done.path == (elsewhere / "runs" / "unlearn-learner").resolve()
    assert set(done.answers) >= {"known", "forgotten", "kept"}
    assert set(done.answers.values()) <= {"yes", "no", "undecided"}
    assert done.result.lineage.model_in
    assert (elsewhere / "given").stat().st_mode & 0o077 == 0
    found = myosotis.audit(done.path, progress=False)
    assert found.found["reproduced"]
    assert json.loads((done.path / "audit.json").read_text())["reproduced"]
    with pytest.raises(InputError, match="model: a run of 'unlearn-learner' is not audited by it, but by shadow"):
        myosotis.audit(done.path, model="x")
    with pytest.raises(InputError, match="already exists; inputs"):
        myosotis.unlearn(taught.path, part(digits, 0, 6), inputs="given")


def test_a_module_of_torch_forgets(digits):
    module = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    done = myosotis.unlearn(module, part(digits, 0, 20), unseen=part(digits, 300, 350), **SHORT)
    assert done.result.kind == "unlearn-classifier"
    assert done.model.classes == tuple(map(str, range(10)))
    config = (done.path / "config.yaml").read_text()
    assert "architecture: resnet10t" in config
    with pytest.raises(InputError, match="no such folder"):  # what was in memory is gone
        myosotis.audit(done.path)


def test_a_language_model_forgets_rows(tokenizer, tiny_llama, elsewhere):
    done = myosotis.unlearn(
        (tiny_llama(), tokenizer),
        rows(PEOPLE[:4]),
        retain=[vars(record) for record in rows(PEOPLE[4:8])],
        unseen=rows(PEOPLE[8:]),
        out="runs/a",
        method={"name": "gd"},
        lora=None,
        training={"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "replay_prompts": 0},
        audit={"n": 2, "max_new_tokens": 4, "samples": 2},
    )
    assert done.result.kind == "unlearn-language"
    assert set(done.answers) >= {"known", "forgotten", "kept", "works"}
    assert done.result.verdict.unit == "subject"
    assert PEOPLE[0].name not in (done.path / "config.yaml").read_text()
    assert myosotis.FinishedRun("runs/a").answers == done.answers


def test_the_adapter_of_a_fine_tune_forgets_rows(tokenizer, tiny_llama, tmp_path, capfd):
    from peft import LoraConfig, get_peft_model

    from myosotis.models.causal_lm import load_causal_lm

    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base, _ = load_causal_lm(str(tmp_path / "base"))
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "tuned")
    capfd.readouterr()
    done = myosotis.unlearn(
        tmp_path / "tuned",
        rows(PEOPLE[:4]),
        method={"name": "ga"},
        lora=None,
        training={"epochs": 1, "batch_size": 8, "replay_prompts": 0},
        audit={"n": 2, "max_new_tokens": 2, "samples": 1},
        progress=False,
    )
    assert done.result.kind == "unlearn-language"
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_subjects_are_learned_and_taken_out(tokenizer, tiny_llama, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    learned = myosotis.learn(rows(PEOPLE[:3]), model=tmp_path / "model", training={"steps": 1}, out="a")
    done = myosotis.unlearn(learned.path, rows(PEOPLE[:1]), out="b")
    assert done.result.kind == "unlearn-adapters"
    with pytest.raises(InputError, match="unseen: 'unlearn-adapters' takes forget, retain"):
        myosotis.unlearn(learned.path, rows(PEOPLE[:1]), unseen=rows(PEOPLE[8:]))


def test_paths_stay_where_they_are(digits, elsewhere):
    from myosotis.init.in_memory import stage_images

    stage_images(part(digits, 0, 100), elsewhere, "mine", digits.classes)
    stage_images(part(digits, 300, 400), elsewhere, "theirs", digits.classes)
    done = myosotis.learn("mine", test="theirs", method="er", training={"epochs": 1}, out="run")
    config = yaml.safe_load((done.path / "config.yaml").read_text())
    assert config["data"]["train"]["folder"] == str(elsewhere.resolve() / "mine")
    assert config["data"]["test"]["folder"] == str(elsewhere.resolve() / "theirs")
    assert len(list((elsewhere / "mine").rglob("*.png"))) == 100


def test_events_are_seen_as_they_happen(digits):
    seen = []
    done = myosotis.learn(part(digits, 0, 200), method="er", training={"epochs": 2}, on_event=seen.append)
    lines = (done.path / "metrics.jsonl").read_text().splitlines()
    assert [event["phase"] for event in seen] == [json.loads(line)["phase"] for line in lines]
    assert {"learn", "task"} <= {event["phase"] for event in seen}

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        myosotis.learn(part(digits, 0, 200), method="er", training={"epochs": 2}, on_event=stop, out="stopped")
    assert not myosotis.engine.run.Run(Path("stopped")).finished


def test_settings_are_a_configuration_too(elsewhere, tiny_jobs):
    tiny_jobs.inputs(elsewhere)
    path = tiny_jobs.written(elsewhere, "classes")
    done = myosotis.run(path, out="one", overrides=["seed=3"], progress=False)
    assert done.result.seed == 3
    assert myosotis.run(path, out="one", overrides=["seed=3"], resume=True).answers == done.answers
    with pytest.raises(InputError, match="already exists"):
        myosotis.run(path, out="one")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: myosotis.unlearn("nowhere/at/all", [{"text": "x"}]), "no such model directory"),
        (lambda x: myosotis.unlearn(object(), [{"text": "x"}]), "object is neither a path nor a classifier"),
        (lambda x: myosotis.unlearn(".", x), "holds no model"),
        (lambda x: myosotis.unlearn(torch.nn.Linear(2, 2), x), "holds no weights of an image classifier"),
        (lambda x: myosotis.learn(x[0]), "expected a folder, or images with labels, got ndarray"),
        (lambda x: myosotis.learn((x[0], x[1][:3])), "8 images and 3 labels"),
        (lambda x: myosotis.learn((x[0] * 2.5, x[1])), "expected bytes, or numbers in \\[0, 1\\]"),
        (lambda x: myosotis.learn((x[0], ["../a"] * 8)), "cannot be the name of a class"),
        (lambda x: myosotis.learn(([], [])), "holds no image"),
        (lambda x: myosotis.learn("nowhere"), "nowhere: no such file"),
        (lambda x: myosotis.learn(x, masks="masks"), "'learn-segments' takes two folders"),
        (lambda x: myosotis.learn(x, job="pretrain", unseen=x), "unseen: 'pretrain' takes data, test"),
        (lambda x: myosotis.learn(x, job="learn-language"), "model: 'learn-language' teaches"),
        (lambda x: myosotis.learn(x, job="denoise-train"), "job: 'denoise-train' is none of"),
        (lambda x: myosotis.learn((x[0].repeat(4, 0), x[1].repeat(4)), trainig={}), "did you mean 'training'"),
        (lambda x: myosotis.audit("nowhere"), "nowhere"),
        (lambda x: myosotis.run({"name": "x"}), "unknown job"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(call, message, digits, elsewhere):
    with pytest.raises(InputError, match=message):
        call(part(digits, 0, 8))
    assert list(elsewhere.iterdir()) == []


def test_symbols_are_denoised(tmp_path):
    plane = np.zeros((48, 48), dtype=np.uint8)
    plane[:, 24:] = 1
    noisy = plane ^ (np.random.default_rng(0).random(plane.shape) < 0.05)
    before = (noisy != plane).mean()
    picture = Image.fromarray(noisy.astype(bool))
    for given in (noisy, torch.tensor(noisy), picture, noisy.tolist()):
        result = myosotis.denoise(given, 0.05)
        assert (result.symbols != plane).mean() < before / 5
    with pytest.raises(InputError):
        myosotis.denoise(noisy, 1.5)


def test_the_package_shows_its_calls_and_nothing_else():
    assert sorted(dir(myosotis)) == sorted(myosotis.__all__)


@pytest.mark.parametrize("form", ["arrays", "tensors", "pillow", "floats", "data set", "loader", "rows", "batches"])
def test_images_are_the_same_in_every_form(form, tmp_path):
    from myosotis.data.image_folders import read_image_folder
    from myosotis.init.in_memory import stage_images

    bytes_ = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
    labels = [0, 1, 2, 0, 1, 2]
    planes = torch.tensor(bytes_).permute(0, 3, 1, 2)
    pairs = list(zip(planes, labels, strict=True))
    forms = {
        "arrays": (bytes_, labels),
        "tensors": (planes, torch.tensor(labels)),
        "pillow": ([Image.fromarray(one) for one in bytes_], labels),
        "floats": (planes / 255, labels),
        "data set": torch.utils.data.TensorDataset(planes, torch.tensor(labels)),
        "loader": torch.utils.data.DataLoader(pairs, batch_size=4),
        "rows": [{"image": Image.fromarray(one), "label": label} for one, label in zip(bytes_, labels, strict=True)],
        "batches": pairs,
    }
    read = read_image_folder(stage_images(forms[form], tmp_path, "forget", ("a", "b", "c")), None)
    assert read.classes == ("a", "b", "c")
    assert read.images.equal(planes[[0, 3, 1, 4, 2, 5]])


def test_a_loader_of_a_named_data_set_has_its_classes(tmp_path):
    from myosotis.init.in_memory import stage_images

    class Named(torch.utils.data.TensorDataset):
        classes = ("oak", "yew")

    data = Named(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    folder = stage_images(torch.utils.data.DataLoader(data), tmp_path, "train")
    assert sorted(path.name for path in folder.iterdir()) == ["oak", "yew"]


def test_rows_of_a_data_frame_lose_their_empty_cells(tmp_path):
    pandas = pytest.importorskip("pandas")
    from myosotis.init.in_memory import stage_records

    frame = pandas.DataFrame([{"prompt": "a?", "response": "b", "subject": "c"}, {"prompt": "d?", "response": "e"}])
    path = stage_records(frame, tmp_path, "forget")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"prompt": "a?", "response": "b", "subject": "c"},
        {"prompt": "d?", "response": "e"},
    ]


def test_a_classifier_of_this_package_keeps_its_normalisation(tmp_path, digits):
    spec = ClassifierSpec("resnet10t", 10, 1, (0.3,), (0.4,), classes=tuple(map(str, range(10))))
    done = myosotis.unlearn(build_classifier(spec, seed=0), part(digits, 0, 20), **SHORT)
    assert "- 0.3" in (done.path / "config.yaml").read_text()
