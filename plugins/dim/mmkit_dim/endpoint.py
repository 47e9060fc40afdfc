"""Where a chat server is and what opens it: credentials come from the environment and are never shown."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mmkit.errors import MMKitError

URL, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
"""The environment's variables, those of the `openai` client."""

PUBLIC = "https://api.openai.com/v1"

_HIDDEN = "***"


@dataclass(frozen=True)
class Endpoint:
    """A server's address without credentials, and the `Authorization` header that it is to get."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, base_url: str | None) -> Endpoint:
        """The server at `base_url`, else at $OPENAI_BASE_URL, else OpenAI's own, with the key in $OPENAI_API_KEY.

        Credentials within the URL (`https://user:password@host/v1`) are sent in the key's place. Raises
        `MMKitError` for a URL that is none, a key that cannot be one, and OpenAI's server without a key.
        """
        given = base_url or os.environ.get(URL, "").strip() or PUBLIC
        key = os.environ.get(KEY, "").strip()
        parts = split_url(given)
        if not (key.isascii() and key.isprintable()):
            raise MMKitError(
                "the key has characters that no key has",
                where=f"${KEY}",
                hint="copy it anew",
                code="dim.server-key",
            )
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            secrets = [key, quote(key), password, parts.password or "", basic]
            authorization: str | None = f"Basic {basic}"
        else:
            secrets, authorization = [key, quote(key)], f"Bearer {key}" if key else None
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if authorization is None and url == PUBLIC:
            raise MMKitError(
                "this server needs a key",
                where=PUBLIC,
                hint=f"set {KEY}, or name another server by {URL}",
                code="dim.no-server-key",
            )
        return cls(url, authorization, tuple(sorted({s for s in secrets if s}, key=len, reverse=True)))

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
            "the chat server's address is no web address",
            hint=f"give one like {PUBLIC}, by base_url or ${URL}",
            code="dim.server-address",
        )
    return parts
