"""A real browser for tests of pages: Chromium without a window, and what a page complains of or asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> Iterator[Any]:
    """The body of a fixture: a running browser. Skips the test if there is none, or playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium: install the package chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


def problems_of(page: Any, own: tuple[str, ...]) -> list[str]:
    """A list that grows with the page's messages and errors, and with requests for addresses that begin otherwise."""
    problems: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith(own):
            problems.append(f"asks for {request.url}")

    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", asked)
    return problems


def inaccessible(page: Any) -> list[str]:
    """What axe-core finds wrong with a page: rule, element. Skips the test if its package is not installed."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing"
    )
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 5, "axe-core looked at nothing"
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found["violations"] for node in rule["nodes"]]
