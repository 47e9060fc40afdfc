"""Texts without credentials, for what is shown or sent to others: messages of libraries, recipes."""

from __future__ import annotations

import os
import re
from typing import TypeVar

X = TypeVar("X")

HIDDEN = "***"
_NAMED = re.compile(r"KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL", re.IGNORECASE)
"""What the name of an environment variable has in it whose value is secret."""
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s?#]+@")
_IN_QUERY = re.compile(r"([?&;]\w*(?:key|token|password|secret|signature)=)[^&;\s]+", re.IGNORECASE)
_SHORTEST = 8
"""A shorter value of a variable is no key: it would be taken out of words."""


def without_secrets(value: X) -> X:
    """A text, or the texts in lists and dictionaries, without user names and keys in addresses, and without the keys,
    tokens and passwords of the environment: `***` stands in their place."""
    secret = {v for k, v in os.environ.items() if _NAMED.search(k) and len(v) >= _SHORTEST}
    return _hidden(value, sorted(secret, key=len, reverse=True))


def _hidden(value: X, secret: list[str]) -> X:
    if isinstance(value, str):
        text = _IN_QUERY.sub(rf"\g<1>{HIDDEN}", _IN_ADDRESS.sub(f"{HIDDEN}@", value))
        for one in secret:
            text = text.replace(one, HIDDEN)
        return text  # type: ignore[return-value]
    if isinstance(value, dict):
        return {_hidden(key, secret): _hidden(own, secret) for key, own in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(_hidden(own, secret) for own in value)
    return value
