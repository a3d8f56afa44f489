from .api import describe as describe, load as load, push_to_hub as push_to_hub

__version__: str
