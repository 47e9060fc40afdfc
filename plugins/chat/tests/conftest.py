"""Shared by the tests of chat servers: the environment of the tests' own, and a server."""

from __future__ import annotations

from chat_fixtures import own_environment, server

__all__ = ["own_environment", "server"]
