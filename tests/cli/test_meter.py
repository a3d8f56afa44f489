"""The meter by the command line: doses that are known, and what the figures tell of them."""

import json
import shutil

import pytest
import yaml

from myosotis.data.encoding import Encoder
from myosotis.data.people import fictitious_people
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.audit.doses import CRITERIA
from myosotis.unlearning.language.meter.config import MeterPeopleConfig
from myosotis.unlearning.language.meter.job import MeterJob
from myosotis.unlearning.language.meter.measures import CONTROL, FIGURES, ONE_PASS, OTHERS, UNSEEN, WRONG, People

METER = {
    "job": "meter",
    "name": "meter",
    "model": {"name": "./model"},
    "people": {"doses": [1, 3], "each": 5, "unseen": 5, "otherwise": 2},
    "training": {"rank": 2, "batch_size": 40, "precision": "no", "further": 1},
    "audit": {"n": 2, "max_new_tokens": 2, "samples": 1, "precision": "no"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_llama, tokenizer, invoke):
    folder = tmp_path_factory.mktemp("meter")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "meter.yaml").write_text(yaml.safe_dump(METER))
    done = invoke("run", folder / "meter.yaml", "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder


def test_every_figure_is_told_of_every_kind_of_people(world, result):
    found = result(world / "run")
    told = found["doses"]["told"]
    assert set(told) == set(FIGURES)
    assert all(set(kinds) == {CONTROL, "1", "3", "reworded", WRONG} for kinds in told.values())
    assert all(0 <= row["auc"]["mean"] <= 1 for kinds in told.values() for row in kinds.values())
    assert set(found["tests"]) == {"rewording", "other people", "general text", "4 bits"}
    assert all(set(figures) == set(ONE_PASS) for figures in found["tests"].values())
    assert found["exposures"] == 5 * 5 * (1 + 3 + 2 + 2)
    assert found["doses"]["network"] == "LlamaForCausalLM, 2 blocks of width 32"


def test_nothing_of_the_teaching_stays(world):
    assert not (world / "run" / "model").exists()
    assert not list((world / "run").rglob("*.safetensors"))


def test_the_report_ranks_the_figures(world):
    page = (world / "run" / "report.html").read_text()
    for words in ("Is the meter sound?", "Which figure sees most?", "top-five recall", "Wrong facts", "4 bits"):
        assert words in page


def test_a_run_that_was_cut_off_goes_on_to_the_same_figures(world, result, invoke, monkeypatch):
    whole = MeterJob._quantized

    def cut(self, model):
        raise KeyboardInterrupt

    monkeypatch.setattr(MeterJob, "_quantized", cut)
    assert invoke("run", world / "meter.yaml", "--out", world / "cut").exit_code != 0
    monkeypatch.setattr(MeterJob, "_quantized", whole)
    monkeypatch.setattr(MeterJob, "_teach", lambda self, *given: pytest.fail("taught again"))
    done = invoke("run", world / "meter.yaml", "--out", world / "cut", "--resume")
    assert done.exit_code == 0, done.output
    first, second = result(world / "run"), result(world / "cut")
    assert first["doses"] == second["doses"]
    assert first["tests"] == second["tests"]
    done = invoke("report", world / "run", world / "cut", "--out", world / "both.html")
    assert done.exit_code == 0, done.output
    assert "Exposures at which a figure tells" in (world / "both.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("people.doses=[3,1]", "'doses' must rise"),
        ("people.each=2", "greater than or equal to 5"),
        ("people.each=200", "at most 1000 people"),
        ("template=nothing", "the template must hold"),
        ("model.name=./nowhere", "nowhere"),
    ],
)
def test_wrong_input_is_refused(change, message, world, invoke):
    done = invoke("run", world / "meter.yaml", "--set", change, "--out", world / "wrong")
    assert done.exit_code == 2
    assert message in done.output
    assert not (world / "wrong").exists()


def test_a_model_whose_context_is_short_is_measured_or_refused(world, tokenizer, tiny_gpt2, invoke):
    for positions, message in ((128, "report:"), (16, "tokens of a question and its answer")):
        model = tiny_gpt2(positions=positions)
        model.save_pretrained(world / f"gpt2-{positions}")
        tokenizer.save_pretrained(world / f"gpt2-{positions}")
        words = ("--set", f"model.name=./gpt2-{positions}", "--set", "people.doses=[1]")
        done = invoke("run", world / "meter.yaml", *words, "--out", world / f"run-{positions}")
        assert message in " ".join(done.output.split()), done.output


def test_check_forecasts_and_writes_nothing(world, invoke):
    done = invoke("check", world / "meter.yaml")
    assert done.exit_code == 0, done.output
    assert "teaching" in done.output
    assert "audits" in done.output


def test_what_init_writes_runs(world, invoke, tmp_path):
    done = invoke("init", "meter", world / "model", "--out", tmp_path / "own.yaml")
    assert done.exit_code == 0, done.output
    assert yaml.safe_load((tmp_path / "own.yaml").read_text())["job"] == "meter"
    assert invoke("check", tmp_path / "own.yaml", "--no-time").exit_code == 0
    assert "takes a model alone" in invoke("init", "meter", world / "model", "a.jsonl", "--overwrite").output


class TestPeople:
    def drawn(self, **changes):
        return People.draw(MeterPeopleConfig(doses=(1, 2), each=5, unseen=6, otherwise=4, **changes), 0)

    def test_each_kind_has_people_of_its_own(self):
        people = self.drawn()
        names = [person.name for kind in people.kinds.values() for person in kind]
        assert len(set(names)) == len(names) == 6 + 5 * 6
        assert len(people.kinds[UNSEEN]) == 6
        assert OTHERS not in people.asked

    def test_they_are_not_those_whom_another_job_of_this_seed_has_taught(self):
        taught = fictitious_people(100, derive_seed(0, "people"))
        names = {person.name for kind in self.drawn().kinds.values() for person in kind}
        assert not names & {person.name for person in taught}

    def test_records_are_taught_as_often_as_their_dose(self):
        people = self.drawn()
        taught = people.exposures()
        count = {record: taught.count(record) for kind in people.asked for record in people.records(kind)}
        for kind, times in {UNSEEN: 0, CONTROL: 0, "1": 1, "2": 2, "reworded": 0, WRONG: 0}.items():
            assert {count[record] for record in people.records(kind)} == {times}, kind
        reworded = {record.prompt for person in people.kinds["reworded"] for record in person.records()}
        assert not reworded & {record.prompt for record in taught}

    def test_wrong_facts_are_those_of_others_and_never_right(self):
        people = self.drawn()
        right, wrong = people.records(WRONG), people.with_wrong_facts(WRONG, 0)
        assert [record.prompt for record in right] == [record.prompt for record in wrong]
        assert all(one.facts != other.facts for one, other in zip(right, wrong, strict=True))
        assert all(other.facts[0] in other.response for other in wrong)
        others = {record.facts for record in people.records(OTHERS)}
        assert {record.facts for record in wrong} <= others

    def test_a_longer_draw_leaves_nobody_out(self, tokenizer):
        people = self.drawn()
        encoder = Encoder(tokenizer, "Question: {prompt}\nAnswer: {response}")
        assert all(encoder(record).marked for kind in people.asked for record in people.records(kind))


@pytest.fixture(scope="module")
def erased(world, invoke):
    people = People.draw(MeterPeopleConfig(each=5, unseen=5), 7)
    for name, kind in {"forget": "1", "retain": "2", "unseen": "5"}.items():
        rows = [
            {"prompt": each.prompt, "response": each.response, "facts": list(each.facts), "subject": each.subject}
            for each in people.records(kind)
        ]
        (world / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "job": "unlearn-language",
        "name": "erased",
        "model": {"name": "./model"},
        "data": {name: f"{name}.jsonl" for name in ("forget", "retain", "unseen")},
        "method": {"name": "ga"},
        "training": {"epochs": 1, "batch_size": 8},
        "audit": {"n": 2, "max_new_tokens": 2, "samples": 1},
    }
    (world / "erase.yaml").write_text(yaml.safe_dump(job))

    def erase(out, *changes):
        words = [word for change in changes for word in ("--set", change)]
        return invoke("run", world / "erase.yaml", "--out", world / out, *words)

    return erase


def test_a_verdict_quotes_the_run_of_the_meter(world, erased, result):
    done = erased("quoting", "audit.meter=run")
    assert done.exit_code == 0, done.output
    quoted, own = result(world / "quoting")["meter"], result(world / "run")["doses"]
    assert quoted["told"]["top5_recall"]["1"] == own["told"]["top5_recall"]["1"]
    assert set(quoted["told"]) == set(CRITERIA)
    page = (world / "quoting" / "report.html").read_text()
    assert "What the criteria can see" in page
    assert "measured on a model of this network" in page


def test_without_one_it_quotes_that_of_the_package_and_says_so(world, erased, result):
    done = erased("plain")
    assert done.exit_code == 0, done.output
    assert result(world / "plain")["meter"] is None
    page = (world / "plain" / "report.html").read_text()
    assert "Made-up people were taught to smollm2-135m" in page
    assert "myosotis init meter MODEL" in page


def test_a_run_of_another_kind_network_or_without_a_sound_control_is_refused(world, erased, result):
    erased("other-kind")
    assert "expected one of 'meter'" in erased("refused", "audit.meter=other-kind").output
    for name, change in {
        "network": {"doses": {**result(world / "run")["doses"], "network": "X, 1 blocks of width 2"}},
        "unsound": {"verdict": {**result(world / "run")["verdict"], "sound": False}},
    }.items():
        shutil.copytree(world / "run", world / name)
        (world / name / "digests.json").unlink(missing_ok=True)
        path = world / name / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        done = erased("refused", f"audit.meter={name}")
        assert done.exit_code == 2
        assert {"network": "this model is a", "unsound": "is not sound"}[name] in " ".join(done.output.split())
    assert not (world / "refused").exists()
