"""What every job stands on: run directory, configuration, seeding, checkpoints, progress."""

from myosotis.engine.config import Config, dump_config, load_config
from myosotis.engine.errors import InputError
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed, generator

__all__ = ["Config", "InputError", "Run", "derive_seed", "dump_config", "generator", "load_config"]
