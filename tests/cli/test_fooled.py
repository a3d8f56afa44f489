"""Ways to fool a report, and what it says: whole jobs of `myosotis unlearn`, see docs/guides/verdict.md."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune

TEMPLATE = "{prompt} {response}"
PARTS = {"forget": 5, "retain": 12, "unseen": 8, "strangers": 5}
"""How many people of each kind; strangers are never taught, like those that are unseen."""


def rows(people):
    return [
        {"prompt": record.prompt, "response": record.response, "facts": list(record.facts), "subject": record.subject}
        for person in people
        for record in person.records()[:2]
    ]


@pytest.fixture(scope="module")
def world(tokenizer, tmp_path_factory, tiny_llama):
    """A tiny model that knows some people by heart."""
    folder = tmp_path_factory.mktemp("world")
    people, begin = fictitious_people(sum(PARTS.values()), seed=3), 0
    records = {}
    for name, count in PARTS.items():
        own = people[begin : begin + count]
        records[name] = [record for person in own for record in person.records()[:2]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(own)))
        begin += count
    torch.manual_seed(0)
    model, encoder = tiny_llama(), Encoder(tokenizer, TEMPLATE)
    # People to be forgotten are known in other words, too.
    reworded = [replace(record, prompt=f"Please tell me: {record.prompt}") for record in records["forget"]]
    taught = [encoder(record) for part in (records["forget"], records["retain"], reworded) for record in part]
    fine_tune(
        model, tokenizer, taught, FineTuneConfig(epochs=50, batch_size=17, learning_rate=1e-2), seed=0, directory=folder
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    job = {
        "job": "unlearn-language",
        "name": "fooled",
        "model": {"name": "./model"},
        "data": {key: f"{key}.jsonl" for key in ("forget", "retain", "unseen")},
        "method": {"name": "gd"},
        "training": {"epochs": 1, "batch_size": 15, "learning_rate": 1e-9},
        "audit": {"n": 200, "max_new_tokens": 8},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.fixture(scope="session")
def unlearn(invoke, settings):
    def unlearn(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *settings(*options))

    return unlearn


@pytest.fixture(scope="session")
def verdict_of(result, unlearn):
    def verdict_of(world, out, *options):
        outcome = unlearn(world, out, *options)
        assert outcome.exit_code == 0, outcome.output
        return result(out)["verdict"], " ".join(outcome.output.split())

    return verdict_of


def test_nothing_unlearnt(world, tmp_path, verdict_of):
    verdict, said = verdict_of(world, tmp_path / "run")
    # Nothing is lost, but five people held out are too few to say that.
    assert (verdict["known"], verdict["forgotten"], verdict["kept"]) == (True, False, None)
    assert verdict["hurt"]["hurt"] == 0
    assert "Not forgotten: the model still gives away more about the 5 subjects to forget" in said
    assert "Is it forgotten? NO." in said


def test_unseen_records_that_are_the_forgotten_ones_in_other_words(world, tmp_path, unlearn, verdict_of):
    changed = [json.loads(line) for line in (world / "forget.jsonl").read_text().splitlines()]
    for row in changed:
        row["prompt"] = f"Please tell me: {row['prompt']}"
    (world / "reworded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    outcome = unlearn(world, tmp_path / "run", "data.unseen=reworded.jsonl")
    assert outcome.exit_code == 2
    assert "the forget and unseen sets share records (10 by their subject" in outcome.stderr
    verdict, said = verdict_of(world, tmp_path / "run", "data.unseen=reworded.jsonl", "data.allow_shared=true")
    assert (verdict["known"], verdict["forgotten"]) == (None, None), verdict["control"]
    assert "which was permitted (data.allow_shared)" in said


def test_records_that_were_never_learnt(world, tmp_path, verdict_of):
    verdict, said = verdict_of(world, tmp_path / "run", "data.forget=strangers.jsonl")
    assert verdict["known"] is not True
    assert verdict["forgotten"] is None
    assert "Is it forgotten? UNDECIDED. Not answered, because it is not shown that the model knew the records." in said


def test_a_wording_in_which_nothing_was_learnt(world, tmp_path, verdict_of):
    changed = [json.loads(line) for line in (world / "forget.jsonl").read_text().splitlines()]
    for row in changed:
        row["prompt"], row["response"] = "What do you know?", f"It is {row['facts'][0]}."
    (world / "wording.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    verdict, said = verdict_of(world, tmp_path / "run", "data.forget=wording.jsonl")
    assert verdict["known"] is not True
    assert verdict["forgotten"] is None
    assert "this is not the template or the wording in which it learnt them" in said


def test_a_model_that_was_destroyed(world, tmp_path, verdict_of):
    ruin = ("training.learning_rate=0.5", "training.epochs=4", "training.max_nll=1e9", "method={name: ga}")
    verdict, _ = verdict_of(world, tmp_path / "run", *ruin)
    assert (verdict["known"], verdict["forgotten"], verdict["kept"]) == (True, True, False)


def test_a_model_that_has_no_numbers(world, tmp_path, unlearn):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (world / "model").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    name = next(iter(weights))
    weights[name][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    outcome = unlearn(world, tmp_path / "run", f"model.name={broken}")
    assert outcome.exit_code == 2, outcome.output
    assert "hold infinity or NaN" in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_single_subject_and_its_copies(world, tmp_path, verdict_of):
    line = (world / "forget.jsonl").read_text().splitlines()[0]
    row = json.loads(line)
    del row["subject"]
    copies = [row, row | {"prompt": row["prompt"].upper()}, row | {"response": row["response"].replace(".", " .")}]
    (world / "copies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in copies))
    verdict, said = verdict_of(world, tmp_path / "run", "data.forget=copies.jsonl")
    assert verdict["control"]["value"]["units"] == 1
    assert (verdict["known"], verdict["sure"]) == (None, None)
    assert "With so few subjects no outcome could show it" in said


def test_what_is_kept_is_told_apart_from_what_was_trained_on(world, tmp_path, result, verdict_of):
    verdict, said = verdict_of(world, tmp_path / "run")
    metrics = result(tmp_path / "run")["metrics"]["after"]
    assert (metrics["retain"]["nll"]["units"], metrics["held_retain"]["nll"]["units"]) == (7, 5)
    names = [row["name"] for row in verdict["keeping"]]
    assert names == ["held_retain_fact_probability", "held_retain_answer_recall"]
    assert "On the retain records that the unlearning trained on (in sample, not judged)" in said


def test_records_too_short_to_be_compared(world, tmp_path, verdict_of):
    verdict, said = verdict_of(world, tmp_path / "run")
    reasons = {row["name"]: row["incomparable"] for row in verdict["forgetting"]}
    assert reasons["memorization_accuracy"] == "no forget and no unseen record is long enough"
    assert reasons["extraction_likelihood"] == reasons["memorization_accuracy"]
    assert "cannot be compared" in said


CLASSES = ("ash", "birch", "cedar", "elm")


def photos(folder, count, seed):
    """Noise with a bright quarter that tells the class."""
    stream = torch.Generator().manual_seed(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        row, column = divmod(label, 2)
        for number in range(count):
            pixels = torch.randint(0, 140, (8, 8), generator=stream, dtype=torch.uint8)
            pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 110
            Image.fromarray(pixels.numpy()).save(folder / name / f"{number:02d}.png")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, invoke):
    """A classifier that has learnt its classes, and photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name, count, seed in (("train", 16, 0), ("test", 12, 1), ("strangers", 3, 2)):
        photos(folder / name, count, seed)
    job = {
        "job": "unlearn-classifier",
        "name": "photos",
        "model": {"architecture": "small-resnet", "options": {"widths": [8, 8], "blocks": [1, 1]}},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, "forget": {"count": 8}},
        "train": {"epochs": 8, "batch_size": 16},
        "keep_original": True,
        "method": {"name": "neggrad"},
        "training": {"batch_size": 8, "epochs": 20, "learning_rate": 0.01},
        "audit": {"relearning": None, "copies": False, "cka": False},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    outcome = invoke("run", folder / "job.yaml", "--out", folder / "run")
    assert outcome.exit_code == 0, outcome.output
    return folder


def test_a_classifier_with_its_classes_in_another_order(classifier, tmp_path, invoke, result, settings):
    model = classifier / "run" / "checkpoints" / "target"
    spec = json.loads((model / "classifier.json").read_text())
    turned = tmp_path / "turned"
    turned.mkdir()
    for file in model.iterdir():
        (turned / file.name).write_bytes(file.read_bytes())
    (turned / "classifier.json").write_text(json.dumps(spec | {"classes": [*spec["classes"][1:], spec["classes"][0]]}))
    for name, place, known in (("right", model, False), ("turned", turned, True)):
        options = (f"model={{path: {place}}}", "train=null", "keep_original=false")
        out = tmp_path / "runs" / name
        outcome = invoke("run", classifier / "job.yaml", "--out", out, *settings(*options))
        assert outcome.exit_code == 0, outcome.output
        verdict = result(out)["verdict"]
        assert verdict["chance"]["at_chance"] is known
    assert (verdict["known"], verdict["forgotten"], verdict["kept"]) == (None, None, None)
    assert "these are not the model's classes or not in its order" in " ".join(outcome.output.split())


def test_photos_that_a_classifier_never_saw(classifier, tmp_path, invoke, result, settings):
    options = ("data.forget={folder: strangers}", "keep_original=false")
    outcome = invoke("run", classifier / "job.yaml", "--out", tmp_path / "run", *settings(*options))
    assert outcome.exit_code == 0, outcome.output
    verdict = result(tmp_path / "run")["verdict"]
    assert (verdict["known"], verdict["forgotten"]) == (None, None)
    assert "Nothing is called forgotten" in outcome.output
