"""What of the libraries' own output reaches the user."""

from __future__ import annotations

import logging

from mmkit.cli import options


def test_an_absent_network_is_told_in_one_line(monkeypatch, caplog):
    monkeypatch.setattr(options._one_line_of_retries, "told", False)
    options.quiet_libraries()
    hub = logging.getLogger("huggingface_hub.utils._http")
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", False)
    hub.addHandler(caplog.handler)
    try:
        for wait in (1, 2, 4):
            hub.warning("'no route' thrown while requesting HEAD https://huggingface.co/x")
            hub.warning(f"Retrying in {wait}s [Retry 1/5].")
        hub.warning("something else")
    finally:
        hub.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == [
        "no answer from the Hugging Face Hub; trying again for half a minute",
        "something else",
    ]
