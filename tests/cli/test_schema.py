"""JSON schemas of configurations, from the descriptions that the code has once."""

import dataclasses
import json
import re

import jsonschema
import pytest
import yaml

from myosotis.engine.config import field_descriptions
from myosotis.init.examples import list_examples
from myosotis.jobs import JOBS

EXAMPLES = list_examples()


@pytest.fixture(scope="module")
def schemas():
    return {command: job.schema().model_json_schema() for command, job in JOBS.items()}


def objects(schema):
    """Every object of a schema, with its properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


@pytest.mark.parametrize("command", JOBS)
def test_every_key_has_a_sentence(schemas, command):
    for found in objects(schemas[command]):
        for key, content in found["properties"].items():
            # The name of a method is described by the method itself, and its base class is not offered.
            if "const" in content or found["title"] == "Method":
                continue
            text = content.get("description", "")
            assert re.fullmatch(r"[A-Z`].{7,}[.)]", text), (found["title"], key, text)
            assert "``" not in text
            assert ":class:" not in text


@pytest.mark.parametrize("command", JOBS)
def test_every_setting_of_a_method_has_a_sentence(command):
    for table in JOBS[command].method_tables().values():
        for name in table:
            settings = table.settings_class(name)
            missing = {field.name for field in dataclasses.fields(settings)} - set(field_descriptions(settings))
            assert not missing, (name, missing)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_match_their_schema(schemas, example):
    validator = jsonschema.Draft202012Validator(schemas[example.job])
    assert list(validator.iter_errors(yaml.safe_load(example.path.read_text()))) == []


def test_a_wrong_key_value_or_method_setting_does_not_match(schemas):
    schema = schemas["learn-classes"]
    example = next(each for each in EXAMPLES if each.name == "learn-fashion")
    content = yaml.safe_load(example.path.read_text())
    for change in (
        {"memry": {}},
        {"norm": "batch"},
        {"training": {"epochs": 0}},
        {"method": "icarrl"},
        {"method": {"name": "icarl", "strength": 1}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **change}, schema)


def test_the_command_prints_a_valid_schema(invoke):
    outcome = invoke("schema", "unlearn-classifier")
    assert outcome.exit_code == 0, outcome.output
    schema = json.loads(outcome.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "unlearn-classifier"
    assert schema["properties"]["preset"]["description"].startswith("Named method")
    assert "loss of accuracy" in schema["$defs"]["AuditConfig"]["properties"]["most_lost"]["description"]


def test_an_unknown_job_is_refused(invoke):
    outcome = invoke("schema", "unlearn-classifer")
    assert outcome.exit_code == 2
    assert "did you mean 'unlearn-classifier'?" in outcome.stderr


def test_keys_are_printed_in_words(invoke):
    lines = invoke("schema", "learn-classes", "training").stdout.splitlines()
    assert "training.epochs  [10]  Epochs per task." in lines
    assert all(line.startswith("training") for line in lines)
    everything = invoke("schema", "learn-classes", ".").stdout
    assert "data  [required]  " in everything
    assert "scenario.class_order" in everything


def test_an_unknown_key_is_refused(invoke):
    outcome = invoke("schema", "learn-classes", "trainig")
    assert outcome.exit_code == 2
    assert "did you mean 'training'?" in outcome.stderr
