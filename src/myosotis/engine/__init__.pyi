from .config import Config as Config, dump_config as dump_config, load_config as load_config
from .errors import DivergedError as DivergedError, InputError as InputError, SettingsError as SettingsError
from .run import Run as Run
from .seeding import derive_seed as derive_seed, generator as generator
