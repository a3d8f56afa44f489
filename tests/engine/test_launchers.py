"""Several processes: what of a launcher is refused."""

import json

import pytest

from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import check_unsharded


def test_launchers_that_shard_weights_are_refused(monkeypatch, tmp_path):
    check_unsharded()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="FSDP shards the weights"):
        check_unsharded()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    check_unsharded()
    for stage, name in ((3, "env"), (3, "file"), (2, "file")):
        (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", str(stage))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none" if name == "env" else str(tmp_path / "ds.json"))
        if stage == 3:
            with pytest.raises(SettingsError, match="ZeRO stage 3 shards"):
                check_unsharded()
        else:
            check_unsharded()
