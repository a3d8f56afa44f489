"""Several processes: what of a launcher is refused."""

import json
from importlib import resources

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from myosotis.engine import processes
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import check_sharding, check_unsharded, shards_weights

EXAMPLES = resources.files("myosotis") / "examples" / "accelerate"


def launched_by(monkeypatch, name):
    """Set the variables that ``accelerate launch`` sets for a configuration of the package."""
    command = ["--config_file", str(EXAMPLES / name), "-m", "myosotis"]
    arguments, defaults, *_ = _validate_launch_command(launch_command_parser().parse_args(command))
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        _, variables = prepare_deepspeed_cmd_env(arguments)
    else:
        variables = prepare_multi_gpu_env(arguments)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)


def test_the_configuration_that_is_shipped_shards(monkeypatch):
    launched_by(monkeypatch, "fsdp.yaml")
    assert shards_weights()
    check_sharding()
    with pytest.raises(SettingsError, match="FSDP shards the weights"):
        check_unsharded()  # what a job that trains by itself calls


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FSDP_VERSION", "1", "FSDP 1 is not supported; set fsdp_version: 2"),
        ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT", "set it to FULL_STATE_DICT"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "set it to false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "training.gradient_checkpointing"),
    ],
)
def test_options_of_fsdp_that_would_go_wrong_are_refused(variable, value, message, monkeypatch):
    launched_by(monkeypatch, "fsdp.yaml")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        check_sharding()


def test_the_configuration_of_stage_2_of_zero_is_read_and_needs_deepspeed(monkeypatch):
    launched_by(monkeypatch, "deepspeed-zero2.yaml")
    assert DeepSpeedPlugin().zero_stage == 2
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: True)
    check_sharding()
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: False)
    with pytest.raises(SettingsError, match="pip install deepspeed"):
        check_sharding()


@pytest.mark.parametrize("check", [check_sharding, check_unsharded])
def test_stage_3_of_zero_is_refused(check, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: True)
    check()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    check()
    for stage, name in ((3, "env"), (3, "file"), (2, "file")):
        (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", str(stage))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none" if name == "env" else str(tmp_path / "ds.json"))
        if stage == 3:
            with pytest.raises(SettingsError, match="ZeRO stage 3 shards"):
                check()
        else:
            check()
