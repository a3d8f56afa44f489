"""What every job stands on: run directory, configuration, seeding, checkpoints, progress."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.engine.config import Config, dump_config, load_config
    from myosotis.engine.errors import DivergedError, InputError, SettingsError
    from myosotis.engine.run import Run
    from myosotis.engine.seeding import derive_seed, generator
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "config": "Config dump_config load_config",
            "errors": "DivergedError InputError SettingsError",
            "run": "Run",
            "seeding": "derive_seed generator",
        },
    )

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
