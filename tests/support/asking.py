"""Questions that are asked of the tests' chat server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chat_server import Server
from mmkit.annotators.base import Failed
from mmkit_chat.answers import Answer
from mmkit_chat.model import ChatModel


def chat_model(server: Server | str, **settings: Any) -> ChatModel:
    """A model on that server, ready to be asked."""
    url = server if isinstance(server, str) else server.url
    model = ChatModel(**{"model": "m", "base_url": url, "retries": 1, "timeout": 60.0, **settings})
    model.prepare()
    return model


def ask(server: Server | str, *names: str, **settings: Any) -> Sequence[Answer | Failed]:
    """Answers to a question about each name, in one call."""
    return chat_model(server, **settings).ask([f"Introduce {name}" for name in names])


def known(*names: str) -> list[Answer]:
    """What the server answers to usual names."""
    return [Answer(f"{name} is well known.") for name in names]
