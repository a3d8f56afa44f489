from .api import (
    FinishedRun as FinishedRun,
    audit as audit,
    denoise as denoise,
    describe as describe,
    learn as learn,
    load as load,
    push_to_hub as push_to_hub,
    run as run,
    unlearn as unlearn,
)

__version__: str
