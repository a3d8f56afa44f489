"""Settings of the trainer: what is refused, and on how many devices it runs."""

import pytest

from myosotis.engine.errors import SettingsError
from myosotis.unlearning.language.training.trainer_config import use_one_device


def test_a_training_without_a_launcher_uses_one_device(tmp_path, settings_for):
    args = settings_for(tmp_path, per_device_train_batch_size=4)
    args._n_gpu = 8  # what transformers finds on a machine with eight GPUs
    use_one_device(args)
    assert (args.n_gpu, args.train_batch_size) == (1, 4)


def test_shards_are_chosen_by_the_launcher_alone(tmp_path, settings_for):
    with pytest.raises(SettingsError, match="FSDP is chosen by accelerate launch"):
        settings_for(tmp_path, fsdp="full_shard")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "gd", "method_settings": {"projection": "conflict"}}, "projection works on whole gradients"),
        ({"optim": "adafactor"}, "optimizer adafactor is not known to work on shards"),
    ],
)
def test_what_cannot_be_sharded_is_refused(changes, message, tmp_path, settings_for, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    with pytest.raises(SettingsError, match=message):
        settings_for(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "ihk"}, "did you mean 'ihl'"),
        ({"method_settings": {"bета": 1}}, "has no setting"),
        ({"method": "npo", "method_settings": {"beta": -1}}, "beta must be > 0"),
        ({"lora_init": "pissa"}, "lora_init must be one of"),
    ],
)
def test_settings_are_checked(changes, message, tmp_path, settings_for):
    with pytest.raises(ValueError, match=message):
        settings_for(tmp_path, **changes)
