"""Shared by the tests of PGIM's parts."""

from __future__ import annotations

from chat_fixtures import own_environment, server

__all__ = ["own_environment", "server"]
