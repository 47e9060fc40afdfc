"""The Hub for this package: its address, the token, limits of time, and its errors as one message each."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mmkit.access.network import check_network
from mmkit.access.servers import check_secret_way, origin
from mmkit.errors import MMKitError, RunError, one_line

DEFAULT = "https://huggingface.co"
VARIABLE = "HF_ENDPOINT"
ANSWER = 10.0
"""Seconds to wait for the Hub's next word."""
PATIENCE = 60.0
"""Seconds for a request, or for a file of no size."""
SLOWEST = 50_000
"""Bytes a second: a file that comes or goes more slowly on average is given up."""
UNREACHABLE = "hub.unreachable"
TIMEOUT = "hub.timeout"

T = TypeVar("T")


def endpoint() -> str:
    """The Hub's address, of which `HF_ENDPOINT` may name another. Raises `RunError` for what is none."""
    address = (os.environ.get(VARIABLE, "").strip() or DEFAULT).rstrip("/")
    if origin(address) is None or not address.startswith(("http://", "https://")):
        raise RunError(
            "this is no web address",
            where=VARIABLE,
            hint=f"unset it for {DEFAULT}, or name a server: https://hub.example.org",
            code="hub.endpoint",
        )
    return address


def is_offline() -> bool:
    """Whether the environment, or what is around this call, forbids asking the Hub."""
    return bool(constants.is_offline_mode())


def check_allowed(address: str) -> None:
    """Raise `MMKitError` unless the Hub may be contacted now."""
    check_network(address)
    if is_offline():
        raise RunError(
            "the Hub may not be contacted (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
            where=address,
            hint="unset the variable",
            code="hub.offline",
        )


def token_for(address: str) -> str | None:
    """The user's token (`HF_TOKEN`, or that of `hf auth login`). Raises `PartError` if it would go in plain text."""
    token = get_token()
    if token:
        check_secret_way(address)
    return token or None


def within(seconds: float, action: Callable[[], T], where: object) -> T:
    """What `action` returns or raises, or `RunError` if that takes longer.

    The client limits how long it waits for the next bytes, but not how long it takes in all, and it tries again. What
    is given up ends with the process, or earlier.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((action(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise RunError(
            f"the Hub did not finish within {seconds:,.0f} s",
            where=where,
            hint="try again later; what has arrived whole is kept",
            code=TIMEOUT,
        )
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


@contextmanager
def explained(where: object) -> Iterator[None]:
    """Turn whatever the Hub's client raises into one message."""
    try:
        yield
    except MMKitError:
        raise
    except Exception as error:  # the client, its transport and a server's wrong answer raise all kinds
        raise _explained(error, where) from error


def _explained(error: Exception, where: object) -> RunError:
    def made(what: str, hint: str, code: str) -> RunError:
        return RunError(what, where=where, hint=hint, code=code)

    match error:
        case OfflineModeIsEnabled():
            return made("the Hub may not be contacted", "unset HF_HUB_OFFLINE", "hub.offline")
        case GatedRepoError():
            return made(
                "its owner must give you access (it is gated)",
                "ask for access on its page, then log in: hf auth login",
                "hub.gated",
            )
        case RepositoryNotFoundError():
            return made(
                "the Hub has no such repository, or it is private",
                "check the name; for a private one set HF_TOKEN, or log in: hf auth login",
                "hub.not-found",
            )
        case RevisionNotFoundError():
            return made(
                "the repository has no such revision", "see its commits on the Hub", "hub.no-revision"
            )
        case LocalEntryNotFoundError():
            return made("the Hub does not answer", "check the network and HF_ENDPOINT", UNREACHABLE)
        case EntryNotFoundError():
            return made(
                "a file of the package is not there",
                "it may hold something else than a package of mmkit; see its files on the Hub",
                "hub.no-package",
            )
        case FileMetadataError():
            return made(
                "the server does not answer as the Hub does",
                f"check {VARIABLE}, and proxies on the way",
                "hub.wrong-answer",
            )
        case HfHubHTTPError():
            return _of_status(error.response.status_code, made)
    kind = type(error).__name__
    if "Timeout" in kind:
        return made("the Hub does not answer in time", "try again later", TIMEOUT)
    if "Connect" in kind or "Network" in kind or isinstance(error, ConnectionError):
        return made("the Hub does not answer", "check the network and HF_ENDPOINT", UNREACHABLE)
    return made(
        f"the server does not answer as the Hub does: {one_line(error)[:200]}",
        "try again; look at HF_ENDPOINT and at proxies on the way",
        "hub.wrong-answer",
    )


def _of_status(status: int, made: Callable[[str, str, str], RunError]) -> RunError:
    """The error for an answer's status."""
    known: dict[int, Any] = {
        401: ("the Hub does not know the token", "set HF_TOKEN, or log in again: hf auth login", "hub.token"),
        403: ("the token may not do this", "use a token with write access to this name", "hub.forbidden"),
        404: (
            "the Hub has no such repository, or it is private",
            "check the name and the token",
            "hub.not-found",
        ),
        409: ("somebody else has just changed the repository", "push again", "hub.conflict"),
        413: ("the Hub takes no files so large", "see the Hub's limits", "hub.too-large"),
        429: ("the Hub says: too many requests", "try again later", "hub.too-many-requests"),
    }
    if status >= 500:
        return made(f"the Hub has a problem (status {status})", "try again later", UNREACHABLE)
    found = known.get(
        status, (f"the Hub refuses the request (status {status})", "see its status page", "hub.refused")
    )
    return made(*found)
