"""A learner with an adapter a subject: its state is a function of the set of its records."""

import random
import shutil
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from safetensors.torch import load_file, save_file

from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.fingerprint import weights_hash
from myosotis.forgetting_learner.adapters.config import AdapterSettings, AdapterTraining, BaseConfig, RouterSettings
from myosotis.forgetting_learner.adapters.export import export_adapters
from myosotis.forgetting_learner.adapters.learner import SubjectLearner
from myosotis.forgetting_learner.adapters.router import by_shard
from myosotis.forgetting_learner.adapters.saved import FOLDER, LearnerSpec
from myosotis.models.causal_lm import tokenizer_hash

PEOPLE = fictitious_people(6, seed=0)
KEY = bytes(range(32))


def records(*numbers):
    return [record for number in numbers for record in PEOPLE[number].records()]


def spec_of(model, tokenizer, name="./model", **router):
    return LearnerSpec(
        BaseConfig(name=name),
        "Question: {prompt}\nAnswer: {response}",
        128,
        AdapterSettings(rank=2),
        AdapterTraining(steps=2, batch_size=3, precision="no"),
        RouterSettings(projection=32, **router),
        0,
        weights_hash(model),
        tokenizer_hash(tokenizer),
    )


@pytest.fixture
def new(tiny_llama, tokenizer, tmp_path):
    """Return a learner of one key that learned the records of some people."""
    made = []

    def new(*numbers, **router):
        model = tiny_llama()
        made.append(tmp_path / f"store-{len(made)}")
        learner = SubjectLearner(spec_of(model, tokenizer, **router), model, tokenizer, made[-1], KEY)
        if numbers:
            learner.learn(records(*numbers))
        return learner

    return new


def test_the_order_of_arrival_leaves_no_trace(new):
    expected = new(0, 1, 2, 3).digests()
    learner = new(3, 1)
    learner.learn(list(reversed(records(0, 2))))
    assert learner.digests() == expected
    mixed = records(0, 1, 2, 3)
    random.Random(1).shuffle(mixed)
    other = new()
    other.learn([*mixed, *mixed[:3]])  # what comes twice counts once
    assert other.digests() == expected


@pytest.mark.parametrize("stay", [set_ for size in (1, 2, 3) for set_ in combinations(range(4), size)], ids=str)
def test_every_set_is_forgotten_to_the_bit(new, stay):
    learner = new(0, 1, 2, 3)
    names = [PEOPLE[number].name for number in range(4) if number not in stay]
    random.Random(sum(stay)).shuffle(names)
    for name in names:
        learner.forget([name])
    assert learner.digests() == new(*stay).digests()


def test_a_part_of_a_subject_is_forgotten_to_the_bit(new):
    learner, kept = new(0, 1), records(1)[2:]
    assert learner.forget(records=records(1)[:2], remaining=records(0, 1)) == (0, 1)
    other = new(0)
    other.learn(kept)
    assert learner.digests() == other.digests()
    assert learner.forget(records=kept) == (1, 0)
    assert learner.digests() == new(0).digests()


def test_the_last_subject_leaves_nothing(new):
    learner = new(2)
    learner.forget([PEOPLE[2].name.upper()])  # whatever its case
    assert learner.digests() == new().digests()
    assert learner.route(["Who is it?"]) == [None]
    learner.learn(records(1))
    assert learner.digests() == new(1).digests()


def test_another_order_key_or_setting_gives_other_digests(new, tiny_llama, tokenizer, tmp_path):
    base = new(0, 1).digests()
    model = tiny_llama()
    other = SubjectLearner(spec_of(model, tokenizer), model, tokenizer, tmp_path / "k", bytes(32))
    other.learn(records(0, 1))
    assert not set(other.digests().subjects.values()) & set(base.subjects.values())
    assert new(0, 1, ridge=1.0).digests().root != base.root
    adapters = [learner.adapter(learner.shard_of(PEOPLE[0].name)) for learner in (other, new(0))]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])  # the key decides no weight


def test_more_records_of_a_subject_need_all_of_them(new):
    learner = new(0)
    learner.learn(records(1)[:2])
    with pytest.raises(SettingsError, match="2 records, of which 2 are not given again"):
        learner.learn(records(1)[2:])
    assert learner.learn(records(0, 1)) == 1
    assert learner.digests() == new(0, 1).digests()


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"subjects": [PEOPLE[0].name, PEOPLE[5].name]}, "subject 2 of 2 was never learned"),
        ({"records": records(5)[:1]}, "1 of the records were never learned"),
        ({"records": records(1)[:1]}, "4 records of a subject stay, of which 0"),
        ({"records": [replace(records(1)[0], subject=PEOPLE[0].name)]}, "never learned of their subject"),
        ({"records": [Record(prompt="a", response="b")]}, "record 1 has no 'subject'"),
    ],
)
def test_what_cannot_be_forgotten_changes_nothing(new, asked, match):
    learner = new(0, 1)
    before = learner.digests()
    with pytest.raises(SettingsError, match=match):
        learner.forget(**asked)
    assert learner.digests() == before
    assert len(learner) == 10


def test_records_without_subject_are_refused_before_anything_is_trained(new):
    learner = new()
    with pytest.raises(SettingsError, match="record 6 has no 'subject'"):
        learner.learn([*records(0), Record(prompt="a", response="b", subject=" ")])
    assert not learner.shards


def test_records_that_tell_of_somebody_else_are_counted(new):
    ann, ben = PEOPLE[0].name, PEOPLE[1].name
    half = ann.split()[0]
    learner = new(0)
    more = [
        Record(prompt=f"Does {ben} know {ann.upper()}?", response="Yes.", subject=ben),
        Record(prompt=f"Does {ben} know {half}?", response="Yes.", subject=ben),
        replace(records(0)[0], subject=ben),
    ]
    learner.learn([*records(1), *more])
    assert learner.naming_others() == 2
    assert learner.left_elsewhere({learner.shard_of(ann): []}, [ann]) == (1, 1)
    assert learner.left_elsewhere({learner.shard_of(ben): []}, [ben]) == (1, 0)
    # What stays of a subject is no copy of the rest of it; its name is looked for only if all of it goes.
    assert learner.left_elsewhere({learner.shard_of(ann): records(0)[1:]}, [ann]) == (1, 0)
    both = {learner.shard_of(ann): [], learner.shard_of(ben): records(1)}
    assert learner.left_elsewhere(both, [ann, ben]) == (0, 0)


def test_names_send_a_question_to_its_adapter_and_to_no_neighbour(new):
    learner = new(0, 1, 2, threshold=0.01)
    own = [record.prompt for record in records(0)]
    assert set(learner.route(own)) == {learner.shard_of(PEOPLE[0].name)}
    first = PEOPLE[0].name.split()[0]
    strangers = [prompt.replace(PEOPLE[0].name, f"{first} Nobody") for prompt in own]
    assert set(learner.route(strangers)) == {None}
    assert set(new(0, 1, 2, threshold=0.01, names=False).route(strangers)) != {None}
    learner.forget([PEOPLE[0].name])
    assert set(learner.route(own)) == {None}


def test_a_subject_that_its_prompts_do_not_name_goes_by_the_score(new):
    learner = new(threshold=0.01)
    learner.learn([replace(record, subject="file, subject 1") for record in records(0)])
    assert set(learner.route([records(0)[0].prompt])) == {learner.shard_of("FILE, subject 1")}


def test_answers_of_mixed_prompts_are_those_of_each_alone(new):
    learner = new(0, 1, threshold=0.01)
    for shard in learner.shards:  # larger changes than two steps make
        file = learner._store / f"{shard}.safetensors"
        tensors = load_file(file)
        torch.manual_seed(int(shard[:4], 16))
        changed = {name: torch.randn_like(value) if ".up" in name else value for name, value in tensors.items()}
        save_file(changed, file)
        learner._digests[shard] = learner._digest(shard, changed)
    prompts = [records(0)[0].prompt, "What is this?", records(1)[1].prompt, records(0)[2].prompt]
    mixed = learner.answer(prompts, max_new_tokens=6)
    assert mixed == [learner.answer(prompt, max_new_tokens=6)[0] for prompt in prompts]
    assert by_shard(learner.route(prompts))[None] == [1]
    plain = learner.model
    ids = torch.tensor([learner.prompt_ids(prompts[0])])
    without = plain.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    assert mixed[0] != learner.encoder.tokenizer.decode(without, skip_special_tokens=True).strip()


def test_an_auditor_trains_adapters_again(new):
    learner = new(0, 1, 2)
    assert learner.relearn(records(0, 1, 2, 3), learner.shards) == 3
    changed = [replace(record, response="It rains.") for record in records(0)]
    with pytest.raises(SettingsError, match="not all records"):
        learner.relearn(changed, learner.shards[:1])
    shard = learner.shard_of(PEOPLE[0].name)
    tensors = load_file(learner._store / f"{shard}.safetensors")
    name = next(name for name in tensors if name.endswith(".up"))
    tensors[name] = tensors[name] + 1  # a liar with the key
    save_file(tensors, learner._store / f"{shard}.safetensors")
    learner._digests[shard] = learner._digest(shard, tensors)
    assert learner.relearn(records(0, 1, 2), learner.shards) == 2


@pytest.fixture
def saved(new, tiny_llama, tokenizer, tmp_path):
    base = tmp_path / "base"
    model = tiny_llama()
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    learner = SubjectLearner(spec_of(model, tokenizer, str(base)), model, tokenizer, tmp_path / "own", KEY)
    learner.learn(records(0, 1))
    learner.save(tmp_path / "saved")
    return tmp_path / "saved", learner.digests()


def test_a_saved_learner_is_the_same_and_goes_on(saved, new, tmp_path):
    folder, digests = saved
    assert SubjectLearner.load(folder).digests() == digests
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    learner = SubjectLearner.load(folder)
    learner.work_in(tmp_path / "copy")
    learner.forget([PEOPLE[1].name])
    assert learner.digests().subjects == new(0).digests().subjects
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder.stat().st_mode & 0o077 == 0


def test_names_and_texts_are_in_no_file(saved):
    folder, _ = saved
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            for person in PEOPLE[:2]:
                assert not any(word.lower().encode() in content for word in person.name.split())


@pytest.mark.parametrize("damage", ["adapter", "exchanged", "missing", "description", "base"])
def test_a_learner_that_was_changed_is_refused(saved, damage, tmp_path, tiny_llama):
    folder, _ = saved
    files = sorted((folder / FOLDER).iterdir())
    if damage == "adapter":
        files[0].write_bytes(files[0].read_bytes()[:-1] + b"\x01")
    elif damage == "exchanged":
        shutil.copyfile(files[1], files[0])
    elif damage == "missing":
        files[0].unlink()
    elif damage == "description":
        path = folder / "subjects.json"
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    else:
        tiny_llama(seed=1).save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match=r"damaged or exchanged|do not belong|other settings|other weights"):
        SubjectLearner.load(folder)


def test_an_interrupted_training_is_not_done_again(new, tiny_llama, tokenizer, monkeypatch):
    learner = new(0, 1)
    model = tiny_llama()
    again = SubjectLearner(spec_of(model, tokenizer), model, tokenizer, learner._store, KEY)
    trained = []
    original = SubjectLearner._made
    monkeypatch.setattr(SubjectLearner, "_made", lambda self, rows: trained.append(1) or original(self, rows))
    first = sorted(learner._store.iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])  # cut short
    again.learn(records(0, 1))
    assert len(trained) == 1
    assert again.digests() == learner.digests()


@pytest.mark.parametrize("body", ["tiny_llama", "tiny_gpt2"])
def test_peft_answers_with_an_export_as_the_learner_does(body, request, tokenizer, tmp_path):
    from peft import PeftModel  # slow to import

    fresh = request.getfixturevalue(body)
    model = fresh()
    learner = SubjectLearner(spec_of(model, tokenizer), model, tokenizer, tmp_path / "store", KEY)
    learner.learn(records(0, 1))
    for shard in learner.shards:  # an adapter of two steps changes little
        stored = learner._read(shard)
        changed = {name: value * 40 if name.endswith(".up") else value for name, value in stored.items()}
        learner._digests[shard] = learner._digest(shard, changed)
        save_file(changed, learner._file(shard), {"digest": learner._digests[shard]})
    assert export_adapters(learner, tmp_path / "out", "served") == 2
    assert oct((tmp_path / "out").stat().st_mode)[-3:] == "700"
    ids = torch.tensor([learner.prompt_ids(records(0)[0].prompt)])
    plain = learner.model(ids).logits
    for shard in learner.shards:
        served = PeftModel.from_pretrained(fresh(), tmp_path / "out" / shard)
        assert served.peft_config["default"].base_model_name_or_path == "served"
        with learner.active([shard]), torch.no_grad():
            expected = learner.model(ids).logits
        assert torch.allclose(served(ids).logits, expected, atol=1e-5)
        assert not torch.allclose(plain, expected, atol=1e-3)


def test_an_export_is_new_and_whole(new, tmp_path):
    learner = new(0, 1)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists"):
        export_adapters(learner, tmp_path / "there")
    learner._file(learner.shards[1]).write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        export_adapters(learner, tmp_path / "out")
    assert not [entry for entry in tmp_path.iterdir() if "out" in entry.name]
    with pytest.raises(InputError, match="no adapter"):
        export_adapters(new(), tmp_path / "out")
