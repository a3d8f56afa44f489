"""Loading, overriding and explaining configurations."""

import pytest
import yaml

from myosotis.engine import InputError, dump_config, load_config
from myosotis.engine.config import mask_password
from myosotis.unlearning.language.config import LanguageUnlearningConfig

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
        ({"training": {"epochs": 0}}, "greater than or equal to 1 (got 0)"),
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
    [("a: [1,\nb: 2", "line 2: not valid YAML"), ("- 1", "expected a mapping"), ("", "got NoneType")],
)
def test_a_file_that_is_no_configuration(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(tmp_path, content)


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
