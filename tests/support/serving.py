"""What tests of the server share: a text, images' bytes, and what a refusal looks like."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import httpx
from PIL import Image

TEXT = "look at Jordan in Paris !"

Served: TypeAlias = Callable[..., AbstractContextManager[httpx.Client]]


def encoded(picture: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of an image's file."""
    file = io.BytesIO()
    picture.save(file, format=form)
    return file.getvalue()


def error(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which has all its fields."""
    found = response.json()["error"]
    assert found.keys() == {"code", "what", "where", "hint"}
    assert found["what"]
    return response.status_code, found["code"]


def alive(client: httpx.Client) -> None:
    """Check that the server still answers."""
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.post("/v1/runs/tagger/predict", json={"text": TEXT}).status_code == 200
