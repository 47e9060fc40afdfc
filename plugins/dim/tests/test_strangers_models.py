"""Models of strangers: the captioner runs no code that comes with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.errors import MMKitError, PartError
from mmkit_chat.blip2 import Captioner
from mmkit_dim.captions import Blip2Captions
from mmkit_dim.descriptions import EntityDescriptions
from own_code import check_refused


def test_no_code_of_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_refused(Captioner, tmp_path, monkeypatch)


def test_a_model_that_is_not_there_is_found_before_it_is_asked() -> None:
    for annotator in (Blip2Captions("no/such/folder"), EntityDescriptions("no/such/folder", backend="local")):
        with pytest.raises(PartError, match=r"no/such/folder.*there is no such folder"):
            annotator.check_there()
    Blip2Captions().check_there()  # of the Hub: its results may all be stored
    with pytest.raises(PartError, match="it is not on this machine"):
        Blip2Captions().check_computable()


@pytest.mark.parametrize(
    ("environment", "settings", "said"),
    [
        ({}, {"model": "m"}, "this server needs a key"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, {}, "no language model is given"),
        ({"OPENAI_BASE_URL": "server"}, {"model": "m"}, "the chat server's address is not a web address"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a.test/v1"}, {"model": "m"}, "in plain text"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, {"model": "m"}, ""),
    ],
)
def test_what_a_server_needs_is_found_before_it_is_asked(
    environment: dict[str, str], settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    annotator = EntityDescriptions(**settings, backend="server")
    if not said:
        annotator.check_computable()
        return
    with pytest.raises(MMKitError, match=said):
        annotator.check_computable()
