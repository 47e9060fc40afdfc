"""A chat server's address and its credentials, which come from the environment and are never shown.

The key goes to the server that the environment names beside it, and to no other that a recipe may name.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mmkit.access.servers import check_secret_way, is_named, key_goes_to
from mmkit.errors import MMKitError

URL, KEY, HEADERS = "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_CUSTOM_HEADERS"
"""The environment's variables, those of the `openai` client."""

PUBLIC = "https://api.openai.com/v1"

_HIDDEN = "***"


@dataclass(frozen=True)
class Endpoint:
    """A server's address without credentials, and the `Authorization` header that it is to get."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    named: bool = True
    """Whether the environment names the server, so that it gets what else the environment has for it."""
    withheld: bool = False
    """Whether there is a key that this server does not get, because the environment does not name the server."""

    @classmethod
    def of(cls, base_url: str | None) -> Endpoint:
        """The server at `base_url`, else at $OPENAI_BASE_URL, else OpenAI's own.

        It gets the key in $OPENAI_API_KEY if it is the one that $OPENAI_BASE_URL names, or OpenAI's own where that is
        not set. Credentials within the URL (`https://user:password@host/v1`) are sent in the key's place. Raises
        `MMKitError` for a URL that is none, a key that cannot be one, and OpenAI's server without a key, and
        `PartError` for credentials that would go over a network in plain text.
        """
        given = base_url or os.environ.get(URL, "").strip() or PUBLIC
        key = os.environ.get(KEY, "").strip()
        parts = split_url(given)
        if not (key.isascii() and key.isprintable()):
            raise MMKitError(
                "the key has characters that a key cannot have",
                where=f"${KEY}",
                hint="copy it again",
                code="dim.server-key",
            )
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            secrets = [key, quote(key), password, parts.password or "", basic]
            authorization: str | None = f"Basic {basic}"
            check_secret_way(given)
        else:
            sent = bool(key) and key_goes_to(given, URL, PUBLIC)
            secrets, authorization = [key, quote(key)], f"Bearer {key}" if sent else None
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if authorization is None and url == PUBLIC:
            raise MMKitError(
                "this server needs a key",
                where=PUBLIC,
                hint=f"set {KEY}, or name another server in {URL}",
                code="dim.no-server-key",
            )
        shown_by_length = tuple(sorted({s for s in secrets if s}, key=len, reverse=True))
        named, withheld = is_named(given, URL, PUBLIC), bool(key) and authorization is None
        return cls(url, authorization, shown_by_length, named, withheld)

    def withheld_headers(self) -> set[str]:
        """The headers that the client would take from the environment, and that this server does not get."""
        if self.named:
            return set()
        lines = os.environ.get(HEADERS, "").split("\n")
        own = {line.partition(":")[0].strip() for line in lines if ":" in line}
        return {"OpenAI-Organization", "OpenAI-Project", *own}

    def redacted(self, text: str) -> str:
        """`text` with all credentials replaced: servers repeat them in their messages."""
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def split_url(url: str) -> SplitResult:
    """A web address's parts. Raises `MMKitError`, which does not repeat it, if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname is not None and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise MMKitError(
            "the chat server's address is not a web address",
            hint=f"give one like {PUBLIC}, as base_url or ${URL}",
            code="dim.server-address",
        )
    return parts
