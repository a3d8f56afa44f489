"""The guide "A whole life" has the commands that `make life` runs, in their order."""

import importlib.util
import re
import shlex
from pathlib import Path

from myosotis.engine.config import load_config
from myosotis.jobs import job_of

ROOT = Path(__file__).parents[1]
PHOTO = "0/0020.png"


def life_script():
    spec = importlib.util.spec_from_file_location("life", ROOT / "benchmarks" / "life.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(module, out):
    class Recorded(module.Life):
        commands = []

        def run(self, *words):
            self.commands.append(shlex.join(("myosotis", *words)))

        def copy(self, photo, target):
            pass

    life = Recorded(out)
    module.live(life, PHOTO)
    return life.commands


def test_the_guide_has_the_commands_that_run(tmp_path):
    guide = (ROOT / "docs" / "guides" / "lifecycle.md").read_text("utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    written = [line for block in blocks for line in block.splitlines() if line.startswith("myosotis ")]
    assert written == recorded(life_script(), tmp_path)


def test_every_configuration_is_one(tmp_path):
    module = life_script()
    recorded(module, tmp_path)
    (tmp_path / "request-3").mkdir()
    for name in module.JOBS:
        path = tmp_path / f"{name}.yaml"
        assert load_config(path, job_of(path).schema()).name == name
