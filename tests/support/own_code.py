"""A stranger's model folder that needs a module of its own, which would leave a mark if it ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmkit.errors import PartError

KINDS = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoImageProcessor", "AutoProcessor")


def with_own_code(folder: Path, marker: Path) -> Path:
    """A model whose configurations all name a module that lies in its folder and would write `marker`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\nclass C:\n    pass\n")
    own = {"auto_map": dict.fromkeys(KINDS, "own.C") | {"AutoTokenizer": ["own.C", "own.C"]}}
    for name in ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        (folder / name).write_text(json.dumps(own))
    (folder / "config.json").write_text(json.dumps({"model_type": "own", **own}))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    return folder


def check_refused(load: Callable[[str], object], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that needs its own code is refused with one message: nothing runs, and nobody is asked on the terminal.

    So is one whose weights are a web page, by the name of the file.
    """

    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked on the terminal: {prompt}")

    monkeypatch.setattr("builtins.input", ask)
    marker = folder / "ran"
    stranger = with_own_code(folder / "stranger", marker)
    with pytest.raises(PartError, match="it needs its own code") as caught:
        load(str(stranger))
    assert caught.value.code == "encoder.needs-code"
    assert not marker.exists()
    (stranger / "model.safetensors").write_bytes(b"<!DOCTYPE html><html>")
    (stranger / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PartError) as caught:
        load(str(stranger))
    assert caught.value.code in ("part.model-unloadable", "encoder.needs-code")
    assert not marker.exists()
