"""Keys and addresses of chat servers: what is secret is never shown, and what cannot be right is told."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from asking import ask, chat_model
from chat_server import KEY, Server
from mmkit.annotators.base import Failed
from mmkit.errors import MMKitError
from mmkit_chat.endpoint import Endpoint
from mmkit_chat.model import ChatModel
from raising import raises

pytestmark = pytest.mark.usefixtures("own_environment")


# Credentials


def _everything_said(error: BaseException, caplog: pytest.LogCaptureFixture, cache: Path) -> str:
    """All that a user or a file gets to see: messages, tracebacks, logs, stored files."""
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error) + caplog.text
    return shown + "".join(path.read_bytes().decode("latin-1") for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["Locked", "Forbidden", "Echo"])
def test_the_key_is_never_shown_even_if_the_server_repeats_it(
    server: Server,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    model = chat_model(server, parallel=1)
    with caplog.at_level(logging.DEBUG), pytest.raises(MMKitError, match=r"\*\*\*") as caught:
        failed = model.ask(["Paris", name])[1]
        assert isinstance(failed, Failed)
        raise MMKitError(failed.reason)
    assert server.seen[0][1]["authorization"] == f"Bearer {KEY}"
    said = _everything_said(caught.value, caplog, tmp_path / "cache")
    assert "127.0.0.1" in said
    for text in (said, str(model.identity()), repr(Endpoint.of(server.url)), str(vars(model))):
        assert KEY not in text


def test_credentials_within_the_address_are_sent_and_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("://", "://ann:pass%2Fword@"))
    with caplog.at_level(logging.DEBUG), raises("chat.server", match="Basic") as caught:
        ask(server, "Locked", base_url=None)
    assert server.seen[0][1]["authorization"] == "Basic YW5uOnBhc3Mvd29yZA=="
    said = _everything_said(caught.value, caplog, tmp_path / "cache")
    assert not [secret for secret in ("pass%2Fword", "pass/word", "YW5uOnBhc3Mvd29yZA==") if secret in said]


def test_a_recipe_may_not_hold_credentials() -> None:
    with raises("chat.credentials") as caught:
        ChatModel("m", base_url="https://ann:secret@host/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["host:secret/v1", "ftp://secret/v1", "http://", "http://[secret", "http://a:secret"]
)
def test_an_address_that_is_none_is_told_without_repeating_it(url: str) -> None:
    with raises("chat.address") as caught:
        Endpoint.of(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_openai_without_a_key_is_told_before_anything_is_sent() -> None:
    with raises("chat.no-key"):
        ChatModel("m").prepare()


def test_a_key_with_odd_characters_is_told_without_repeating_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sécret")
    with raises("chat.key") as caught:
        ask(server, "Paris")
    assert "sécret" not in str(caught.value)
