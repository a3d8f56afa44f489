"""The Hugging Face hub: whether it can be asked for what a user named."""

import os
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_SECONDS = 10  # to wait for an answer


def hub_answers(path: str) -> bool:
    """Whether the hub answers a single question about a file, be it that there is none.

    The libraries would ask eight times, with pauses and a message each, before they say that there is no network.

    Args:
        path: Below the hub's address, e.g. ``owner/model/resolve/main/config.json``.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    question = Request(f"{address}/{path}", method="HEAD")  # noqa: S310 - the hub's own address
    try:
        with urlopen(question, timeout=_SECONDS):  # noqa: S310
            return True
    except HTTPError:
        return True  # an answer, if a refusal
    except (URLError, TimeoutError, ConnectionError):
        return False
