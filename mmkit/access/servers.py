"""Servers' addresses, and which of them get a key: only those that the environment names for the key.

A recipe may come from anyone and may name any address, but the environment is the user's own. So a key is sent only
to the address that an environment variable names, never in plain text over a network, and never after a redirect
(clients follow no redirect).
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from mmkit.errors import PartError

_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address, for comparison; None if it is not a web address."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    return (parts.scheme, host, port) if host and port else None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by the name `localhost` or an address: then no network is used."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_named(url: str, variable: str, default: str = "") -> bool:
    """Whether the environment's `variable` names the server at `url`: scheme, host and port count.

    The variable may hold several addresses, with commas or spaces between; `default` is its value if it is not set.
    """
    named = re.split(r"[\s,]+", os.environ.get(variable, "").strip() or default)
    wanted = origin(url)
    return wanted is not None and wanted in map(origin, named)


def key_goes_to(url: str, variable: str, default: str = "") -> bool:
    """Whether the user named the server at `url` for a key (`is_named`), so that it gets the key.

    Raises `PartError` if the server would get the key in plain text: over http, on another machine.
    """
    named = is_named(url, variable, default)
    if named:
        check_secret_way(url)
    return named


def check_secret_way(url: str) -> None:
    """Raise `PartError` if data for a server would cross a network in plain text. The message has no credentials."""
    scheme, host, port = origin(url) or ("", "", 0)
    if scheme != "https" and not is_loopback(host):
        raise PartError(
            "a key is not sent in plain text, over a network",
            where=f"{scheme}://{host}:{port}",
            hint="name the server's https address, or unset the key",
            code="network.plain-key",
        )
