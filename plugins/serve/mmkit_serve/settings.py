"""What a server may be set to: addresses, limits, times."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

from mmkit.errors import MMKitError

KEY = "MMKIT_SERVE_KEY"
"""The environment variable with the key that clients must send. It is in no message and no log."""

MEGA = 1_000_000
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Settings:
    """Limits and addresses of a server. Sizes are in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str = ""
    """What clients send as `Authorization: Bearer KEY` or `X-API-Key: KEY`; empty: no key is needed."""
    hosts: tuple[str, ...] = ()
    """Further names by which clients may call a server on loopback."""
    batch_size: int | None = None
    """Requests that the model computes together; None: the recipe's `eval_batch_size`."""
    batch_wait: float = 0.002
    """How long the first request waits for others. Requests that arrive while the model computes wait anyway."""
    queue: int = 512
    """Texts that may wait for the model; further requests are refused (429)."""
    max_body: int = 16 * MEGA
    max_batch_body: int = 256 * MEGA
    """Bodies of batch uploads, which wait on the disk."""
    max_memory: int = 512 * MEGA
    """Bodies of all open requests together (batch uploads count while they are read)."""
    max_pixels: int = 25 * MEGA
    max_images: int = 16
    """Images of one text."""
    max_texts: int = 256
    """Texts of one `predict-many`."""
    max_characters: int = 20_000
    """Characters of one text."""
    max_connections: int = 2_000
    timeout: float = 30.0
    """From the end of a request's body to its answer."""
    read_timeout: float = 20.0
    """For a request's head, and for its body."""
    write_timeout: float = 20.0
    """For a client to take a piece of the answer."""
    stop_timeout: int = 30
    """For the requests in flight when the server is asked to stop."""
    log_texts: bool = False
    """Whether logs contain texts, answers' errors in full, and tracebacks' messages."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The names by which clients may call the server; None: any name.

        A page elsewhere can give its own name the address 127.0.0.1, and so reach a server that needs no key.
        """
        if not self.on_loopback:
            return None
        return frozenset({"localhost", "127.0.0.1", "::1", self.host.lower(), *map(str.lower, self.hosts)})


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_from(environment: Mapping[str, str] = os.environ) -> str:
    """The key in the environment; empty if there is none. Raises `MMKitError` for one that is easily guessed."""
    key = environment.get(KEY, "").strip()
    if key and (len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key):
        raise MMKitError(
            f"the key in {KEY} has fewer than {SHORTEST_KEY} characters, or others than ASCII without spaces",
            where=KEY,
            hint='make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            code="serve.weak-key",
        )
    return key
