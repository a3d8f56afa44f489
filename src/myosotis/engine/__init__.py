"""What every job stands on: run directory, configuration, seeding, checkpoints, progress."""

from myosotis.engine.config import Config, dump_config, load_config
from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed, generator

__all__ = [
    "Config",
    "DivergedError",
    "InputError",
    "Run",
    "SettingsError",
    "derive_seed",
    "dump_config",
    "generator",
    "load_config",
]
