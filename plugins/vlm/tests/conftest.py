"""Shared by the tests: an environment of their own, and a server that keeps what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chat_fixtures import own_environment
from recording import recording_server

__all__ = ["own_environment", "talking"]


@pytest.fixture
def talking() -> Iterator[Any]:
    with recording_server() as running:
        yield running
