"""Loading, overriding and explaining configurations."""

import pytest
import yaml

from myosotis.engine import InputError, dump_config, load_config
from myosotis.engine.config import Config, LocalPath, mask_password
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig

MINIMAL = {"name": "job", "model": {"name": "m"}, "data": {"forget": "f.jsonl", "retain": "r.jsonl"}}


def write(path, content):
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def load(tmp_path, content, *overrides):
    return load_config(write(tmp_path / "job.yaml", content), LanguageUnlearningConfig, overrides)


def test_defaults_overrides_and_round_trip(tmp_path):
    config = load(tmp_path, MINIMAL, "training.learning_rate=1e-4", "lora.rank=4", "method.name=npo", "method.beta=0.5")
    assert config.training.learning_rate == 1e-4
    assert config.lora.rank == 4
    assert config.method.settings["beta"] == 0.5
    # The rest of the method stands there too, as it is by default.
    assert config.method.settings["retain"] == "nll"
    assert LanguageUnlearningConfig.model_validate(yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///runs/a@b/study.db", "sqlite:///runs/a@b/study.db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
        ("postgresql://db.example/optuna", "postgresql://db.example/optuna"),
        ("postgresql://me@db.example:5432/optuna", "postgresql://me@db.example:5432/optuna"),
        ("postgresql://me:pw@db.example/optuna", "postgresql://me:***@db.example/optuna"),
        ("mysql+pymysql://me:p@ss/w:ord@db/x", "mysql+pymysql://me:***@db/x"),
        (
            "postgresql://db/x?user=me&password=pw&sslmode=require",
            "postgresql://db/x?user=me&password=***&sslmode=require",
        ),
        ("postgresql:/me:pw@db/x", "postgresql:***"),
    ],
)
def test_a_password_is_masked_and_nothing_else(url, shown):
    assert mask_password(url) == shown


def test_an_override_in_an_error_does_not_show_its_value(tmp_path):
    for override in ("storage=[pw", "storage:pw", "pw@x"):
        with pytest.raises(InputError) as caught:
            load(tmp_path, MINIMAL, override)
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trianing": {}}, "unknown key 'trianing'; did you mean 'training'?"),
        ({"training": {"learning_rat": 1}}, "did you mean 'training.learning_rate'?"),
        ({"lora": {"epochs": 1}}, "did you mean"),
        ({"epochs": 3}, "did you mean 'fine_tune.epochs'?"),
        ({"training": {"learning_rate": -1}}, "'training.learning_rate': input should be greater than 0 (got -1)"),
        ({"training": {"epochs": 0}}, "greater than 0 (got 0)"),
        ({"method": {"name": "ihk"}}, "unknown method 'ihk'; did you mean 'ihl'?"),
        ({"method": {"name": "npo", "btea": 1}}, "has no setting 'btea'; did you mean 'beta'?"),
        ({"method": {"name": "npo", "beta": 0}}, "beta must be > 0"),
        ({"model": None}, "'model'"),
        ({"data": {}}, "either 'people' or 'forget'"),
        ({"data": {"forget": "f.jsonl"}}, "has a retain term, but 'data.retain' is missing"),
        ({"stop": {}}, "'data.unseen' is missing"),
        ({"reference": "retrain"}, "needs 'fine_tune'"),
        ({"name": "a/b"}, "'name'"),
        ({"method": {"name": "npo", "beta": "x"}}, "beta"),
        ({"method": {"name": "ihl", "reduction": "foo"}}, "reduction"),
        ({"training": {"schedule": "linaer"}}, "'training.schedule'"),
        ({"training": {"optimizer": "adamw_troch"}}, "did you mean 'adamw_torch'?"),
        ({"data": {"people": {"forget": 999, "retain": 2}}}, "at most 1000 people"),
        ({"data": {"forget": "f", "retain": "r", "template": "{response} {prompt}"}}, "and then {response}"),
        ({"data": {"forget": "f", "retain": "r", "refusals": []}}, "'data.refusals'"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(change, message, tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, {**MINIMAL, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "job.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("name.deeper=3", "name is a single value"),
        ("training.epochs=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_explained(override, message, tmp_path):
    with pytest.raises(InputError, match="--set") as caught:
        load(tmp_path, MINIMAL, override)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1,\nb: 2", "line 2: not valid YAML"),
        ("- 1", "expected a mapping"),
        ("", "is empty; expected the settings of a job"),
        ("# nothing but a comment\n", "is empty"),
        (
            "training:\n  epochs: 1\n  batch_size: 2\n  epochs: 3\n",
            "line 4: .*'epochs' is given twice, first in line 2",
        ),
        ("name: a\nname: a\n", "line 2: .*'name' is given twice, first in line 1"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_configuration(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(tmp_path, content)


def test_a_file_in_another_encoding_and_a_directory(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8-sig")
    assert load_config(path, LanguageUnlearningConfig).name == MINIMAL["name"]
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-16")
    with pytest.raises(InputError, match="is saved as UTF-16; save it as UTF-8"):
        load_config(path, LanguageUnlearningConfig)
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(InputError, match="is not text in UTF-8"):
        load_config(path, LanguageUnlearningConfig)
    with pytest.raises(InputError, match="is a directory; expected a YAML file"):
        load_config(tmp_path, LanguageUnlearningConfig)


def test_a_key_may_override_what_is_merged_in_but_not_itself(tmp_path):
    shared = "name: x\nmodel: {name: m}\ndata: {people: {}}\nfine_tune: &shared {epochs: 1, batch_size: 4}\n"
    found = load(tmp_path, f"{shared}training: {{<<: *shared, epochs: 3}}\n")
    assert (found.training.epochs, found.training.batch_size, found.fine_tune.epochs) == (3, 4, 1)
    with pytest.raises(InputError, match="given twice"):
        load(tmp_path, MINIMAL, "training={epochs: 1, epochs: 2}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"trianing": 1, "training": {"epochs": 0, "learning_rate": -1}, "name": "my run"},
            "4 faults: (1) unknown key 'trianing'; did you mean 'training'?; (2) 'name': a name has 1 to 100 letters, "
            "digits, '-', '_' and '.', and not dots alone (got 'my run'); (3) 'training.epochs': input should be "
            "greater than 0 (got 0); (4) 'training.learning_rate': input should be greater than 0 (got -1)",
        ),
        # The missing key is the unknown one, misspelt; and of what a source may be, it comes nearest to a file.
        (
            {"data": {"forget": {"fil": "f.jsonl"}, "retain": "r"}},
            "unknown key 'data.forget.fil'; did you mean 'data.forget.file'?",
        ),
        (
            {"data": {"people": {}, "requests": 0}},
            "'data.requests': input should be greater than 0 (got 0)",
        ),
        ({"data": {"people": {}, "requests": "x"}}, "'data.requests': input should be 'subject' (got 'x')"),
        ({"model": {}, "data": None}, "2 faults: (1) 'model.name' is missing; (2) 'data'"),
    ],
)
def test_every_fault_is_told_once(change, message, tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, {**MINIMAL, **change})
    assert str(caught.value).startswith(f"{tmp_path / 'job.yaml'}: {message}")


def test_an_error_does_not_quote_records_that_stand_in_the_configuration(tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, {**MINIMAL, "data": {"forget": [{"prompt": "Who?", "response": "In Oslo."}], "retain": "r"}})
    assert "'data.forget'" in str(caught.value)
    assert "Oslo" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml", LanguageUnlearningConfig)


def test_yaml_cannot_build_objects(tmp_path):
    with pytest.raises(InputError, match="not valid YAML"):
        load(tmp_path, "name: !!python/object/apply:os.getcwd []")


def test_a_fault_between_keys_names_these_and_nothing_else(tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, {**MINIMAL, "reference": "retrain"})
    place, _, told = str(caught.value).partition(": ")
    assert place.endswith("job.yaml")
    assert told.startswith("'reference: retrain' needs 'fine_tune'")
    assert "mapping" not in told


def test_a_path_that_begins_with_a_tilde_is_a_home_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    class Reads(Config):
        paths: tuple[LocalPath, ...]

    (tmp_path / "job.yaml").write_text('paths: ["~/a", "~nobody-of-this-name/a", "./~b"]\n')
    paths = load_config(tmp_path / "job.yaml", Reads).paths
    assert paths == tuple(str(tmp_path / name) for name in ("home/a", "~nobody-of-this-name/a", "~b"))


def test_numbers_are_names_and_words_that_yaml_reads_otherwise_are_explained(tmp_path):
    assert load(tmp_path, {**MINIMAL, "name": 17, "request": {"id": 2026}}).name == "17"
    with pytest.raises(InputError, match=r"got False.*quote the word"):
        load(tmp_path, yaml.safe_dump(MINIMAL) + "method: no\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path, {**MINIMAL, "training": {"epochs": "many"}})
    assert "quote" not in str(caught.value)
