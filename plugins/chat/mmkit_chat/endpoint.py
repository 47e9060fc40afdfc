"""The address of a chat server and its credentials. Credentials come from the environment and are never shown.

The key is sent only to the server that the environment names, even if a recipe names another.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mmkit.access.servers import check_secret_way, is_named, key_goes_to
from mmkit.errors import MMKitError

URL, KEY, HEADERS = "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_CUSTOM_HEADERS"
"""The environment variables, which are those of the `openai` client."""

PUBLIC = "https://api.openai.com/v1"

_HIDDEN = "***"


@dataclass(frozen=True)
class Endpoint:
    """A server's address without credentials, and the `Authorization` header that is sent to it."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    named: bool = True
    """Whether the environment names this server. Only then it gets the other headers of the environment."""
    withheld: bool = False
    """Whether there is a key that is not sent, because the environment does not name this server."""

    @classmethod
    def of(cls, base_url: str | None) -> Endpoint:
        """The server at `base_url`, else at $OPENAI_BASE_URL, else OpenAI's own.

        The key in $OPENAI_API_KEY is sent if $OPENAI_BASE_URL names this server, or if that is not set and this is
        OpenAI's own server. Credentials in the URL (`https://user:password@host/v1`) are sent instead of the key.
        Raises `MMKitError` for an invalid URL, an invalid key, and OpenAI's server without a key. Raises `PartError` if
        credentials would be sent over a network in plain text.
        """
        given = base_url or os.environ.get(URL, "").strip() or PUBLIC
        key = os.environ.get(KEY, "").strip()
        parts = split_url(given)
        if not (key.isascii() and key.isprintable()):
            raise MMKitError(
                "the key has characters that are not allowed in a key",
                where=f"${KEY}",
                hint="copy it again",
                code="chat.key",
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
                hint=f"set {KEY}, or put the address of another server into {URL}",
                code="chat.no-key",
            )
        shown_by_length = tuple(sorted({s for s in secrets if s}, key=len, reverse=True))
        named, withheld = is_named(given, URL, PUBLIC), bool(key) and authorization is None
        return cls(url, authorization, shown_by_length, named, withheld)

    def withheld_headers(self) -> set[str]:
        """The headers that the client would take from the environment, but that are not sent to this server."""
        if self.named:
            return set()
        lines = os.environ.get(HEADERS, "").split("\n")
        own = {line.partition(":")[0].strip() for line in lines if ":" in line}
        return {"OpenAI-Organization", "OpenAI-Project", *own}

    def redacted(self, text: str, at_least: int = 1) -> str:
        """`text` with all credentials of `at_least` so many characters replaced: servers may repeat them."""
        for secret in self.secrets:
            if len(secret) >= at_least:
                text = text.replace(secret, _HIDDEN)
        return text


def split_url(url: str) -> SplitResult:
    """The parts of a web address. If it is not one, raises `MMKitError`, which does not repeat it."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and parts.hostname is not None and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise MMKitError(
            "the chat server's address is not a web address",
            hint=f"give one like {PUBLIC}, as base_url or ${URL}",
            code="chat.address",
        )
    return parts
