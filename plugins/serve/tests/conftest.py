"""Servers of runs on a free port of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from mmkit_serve.app import make_app
from mmkit_serve.runs import ServedRun, load_runs
from mmkit_serve.server import address, bind, server
from mmkit_serve.settings import Settings
from serving import Served, encoded


@pytest.fixture(scope="session")
def runs(tagger: Path) -> dict[str, ServedRun]:
    """The tagger, loaded."""
    return load_runs([str(tagger)], "cpu")


@pytest.fixture(scope="session")
def serve(runs: dict[str, ServedRun]) -> Served:
    """`with serve(max_body=1000) as client`: a server of the tagger (or of `served`), and a client for it."""

    @contextlib.contextmanager
    def serving(served: dict[str, ServedRun] | None = None, **settings: Any) -> Iterator[httpx.Client]:
        chosen = Settings(port=0, **settings)
        ready = threading.Event()
        with bind(chosen) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # a slow client is soon felt
            running = server(make_app(served or runs, chosen), chosen, ready.set)
            thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                assert ready.wait(30)
                with httpx.Client(base_url=address(listening), timeout=60, trust_env=False) as client:
                    client.server = running  # type: ignore[attr-defined]
                    yield client
            finally:
                running.should_exit = True
                thread.join(60)
                assert not thread.is_alive()

    return serving


@pytest.fixture(scope="session")
def client(serve: Served) -> Iterator[httpx.Client]:
    """A client of a server with small limits."""
    with serve(
        max_body=400_000, max_batch_body=2_000_000, max_pixels=200_000, max_images=3, max_texts=20,
        max_characters=500, read_timeout=1.0, write_timeout=1.0,
    ) as client:  # fmt: skip
        yield client


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A small JPEG."""
    return encoded(Image.radial_gradient("L").convert("RGB"), "JPEG")
