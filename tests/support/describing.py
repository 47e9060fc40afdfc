"""Descriptions of entities that are asked of the tests' chat server."""

from __future__ import annotations

from typing import Any

from chat_server import Server
from mmkit.data.types import Entity
from mmkit_dim.descriptions import EntityDescriptions


def entities(*names: str) -> list[Entity]:
    return [Entity(f"Q{i}", name) for i, name in enumerate(names)]


def describer(server: Server | str, **settings: Any) -> EntityDescriptions:
    url = server if isinstance(server, str) else server.url
    given = {"model": "m", "base_url": url, "prompt": "Introduce {name}", "retries": 1, "timeout": 60.0}
    return EntityDescriptions(**{**given, **settings})


def described(annotated: list[Entity]) -> list[str]:
    return [x.description for x in annotated]
