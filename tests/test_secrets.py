"""What is shown or sent to others has no credentials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.access.secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:word@host:9200/index", "http://***@host:9200/index"),
        ("https://token@host/a@b", "https://***@host/a@b"),
        ("https://host/?api_key=abc&n=1", "https://host/?api_key=***&n=1"),
        ("https://host/path", "https://host/path"),
        ("somebody@example.org", "somebody@example.org"),
    ],
)
def test_addresses_lose_user_names_and_keys(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets({"a": [text, 3], "b": {"c": text}}) == {"a": [shown, 3], "b": {"c": shown}}


def test_keys_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdefgh")
    monkeypatch.setenv("OTHER_TOKEN", "abcdefghijkl")
    monkeypatch.setenv("SHORT_PASSWORD", "the")
    monkeypatch.setenv("HARMLESS", "harmless")
    said = "abcdefghijkl and abcdefgh in the harmless text"
    assert without_secrets(said) == "*** and *** in the harmless text"


@given(st.text(st.characters(codec="ascii", exclude_characters="/?#@"), min_size=1).filter(str.isprintable))
def test_no_password_is_left_in_an_address(password: str) -> None:
    word = password.replace(" ", "_")
    assert without_secrets(f"http://me:{word}@host/") == "http://***@host/"
