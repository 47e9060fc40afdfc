"""A connection to Milvus: its address and its token, who may be contacted, and what goes wrong, as one message."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmkit.access.network import check_network
from mmkit.access.servers import key_goes_to
from mmkit.errors import DataError, PartError

TOKEN = "MILVUS_TOKEN"
"""The environment variable with `user:password` or an API key."""
URI = "MILVUS_URI"
"""The environment variable with the address of the server to which `TOKEN` is sent."""
MOST = 16_384
"""The most hits of one search, a limit of Milvus."""
SECONDS = 60.0
"""How long to wait for a server's answer."""


def checked_address(address: str) -> str:
    """`address`, if it has no credentials. Otherwise raises `PartError`, which does not repeat the address."""
    if not is_file(address) and "@" in address:
        raise PartError(
            "`url` contains more than an address, perhaps credentials",
            hint=f"put credentials into the environment variable {TOKEN}",
            code="retrieval.credentials",
        )
    return address


def is_file(address: str) -> bool:
    """Whether an address is a file of the embedded milvus-lite, and not a server."""
    return "://" not in address


def check_file(address: str) -> None:
    """Raise `DataError` for a file that is missing."""
    if is_file(address) and not Path(address).exists():
        raise DataError(
            "there is no milvus-lite file here",
            where=address,
            hint="upload an index first",
            code="retrieval.no-milvus-lite",
        )


def check_address(address: str) -> None:
    """Raise `PartError` without pymilvus or for a token that may not be sent, `DataError` for a file that is missing.

    Nobody is contacted.
    """
    check_file(address)
    check_client(address)


def check_client(address: str) -> None:
    """The same, where a file may be made. Nobody is contacted."""
    token_of(address)
    if find_spec("pymilvus") is None:
        raise _no_client(address)


def _no_client(address: str) -> PartError:
    hint = 'pip install "mmkit-retrieval[milvus]"'
    return PartError(
        "searching in Milvus needs pymilvus", where=address, hint=hint, code="part.needs-package"
    )


def connected(address: str, timeout: float | None = None) -> Any:
    """A client. Raises `PartError` if pymilvus is missing, and `DataError` if nothing answers.

    milvus-lite counts as a server: it runs as a process of its own, and writes to its file.
    """
    check_network(address)
    token = token_of(address)
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise _no_client(address) from error
    with explained(address):
        return MilvusClient(address, token=token, timeout=timeout)


def token_of(address: str) -> str:
    """The token for this server, or "". Raises `PartError` if there is a token and `URI` names no server."""
    token = os.environ.get(TOKEN, "").strip()
    if not token or is_file(address):
        return ""
    if not os.environ.get(URI, "").strip():
        raise PartError(
            f"{TOKEN} is sent only to the server that {URI} names, and {URI} is not set",
            where=address,
            hint=f"to send it to this server: export {URI}={address}",
            code="retrieval.key-without-server",
        )
    return token if key_goes_to(address, URI) else ""


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn errors of pymilvus into `DataError`. pymilvus would log them with a traceback; that is turned off."""
    from pymilvus.exceptions import MilvusException

    loggers = [logging.getLogger(name) for name in ("pymilvus", "milvus_lite", "grpc")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except MilvusException as error:
        if is_file(address):
            hint = "the folder must exist and be writable, and milvus-lite must be installed: pip install milvus-lite"
        else:
            hint = (
                f"check that the server is running, and the address; if it needs a password, put it into {TOKEN}, and "
                f"the server's address into {URI}"
            )
        raise DataError(
            f"Milvus: {error.message or error}", where=address, hint=hint, code="retrieval.milvus"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
