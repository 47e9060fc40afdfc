"""A connection to a Ray cluster. Ray reports nothing to anybody, and a cluster started here stays on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from mmkit.errors import MMKitError, PartError, RunError, one_line

LOCAL, AUTO = "local", "auto"
SECONDS = 10
"""How long an address has to answer. Ray itself would try for some minutes."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to Ray's makers
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets Ray use the address 127.0.0.1 for all that it starts here (of any system, whatever the name says)."""


@contextmanager
def cluster(address: str) -> Iterator[ModuleType]:
    """The module `ray`, connected to the cluster at an address: `HOST:PORT`, `auto`, or `local` for one of its own.

    A connection that this process has already is used, and stays. Raises `PartError` if Ray is not installed, and
    `RunError` if no cluster answers.
    """
    if address not in (LOCAL, AUTO):
        _check_answers(address)
    ray = _ray(address)
    if ray.is_initialized():
        yield ray
        return
    own = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # Ray raises its own errors, and Python's of many kinds
        raise _no_cluster(address, one_line(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _ray(address: str) -> ModuleType:
    """Ray, imported: it reads most of its settings at this moment."""
    os.environ.update(QUIET)
    if address == LOCAL:
        os.environ.update(LOOPBACK)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise PartError(
            f"--ray needs Ray, which cannot be imported: {one_line(error)}",
            hint='pip install "ray[data]"',
            code="ray.not-installed",
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Raise `RunError` unless something listens at an address."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal()):
        raise RunError(
            f"{address!r} is no address of a Ray cluster",
            where="--ray",
            hint="give HOST:PORT, as `ray start --head` shows it, or `auto` for the cluster on this machine",
            code="ray.address",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, one_line(error)) from error


def _no_cluster(address: str, why: str) -> MMKitError:
    if address == LOCAL:
        hint = "see the files in /tmp/ray, and whether memory and disk suffice"
    else:
        hint = (
            "start the cluster with `ray start --head`, and give this command on one of its machines, "
            "with the same versions of Python and Ray"
        )
    return RunError(
        f"no Ray cluster can be used: {why}", where=f"--ray {address}", hint=hint, code="ray.no-cluster"
    )
