"""Models that need their own code, or compiled code from the Hub: refused, and nothing of theirs is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel

from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from mmkit.pretrained.source import Pretrained
from own_code import with_own_code
from raising import raises
from refusals import message

Copy = Callable[..., Path]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to be asked anything."""

    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked on the terminal: {prompt}")

    monkeypatch.setattr("builtins.input", ask)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", [TransformerEncoder, ClipImageEncoder])
def test_a_model_that_needs_its_own_code_is_refused(kind: Any, tmp_path: Path) -> None:
    folder = with_own_code(tmp_path / "own", tmp_path / "ran")
    assert "it needs its own code" in message(kind(str(folder)), "encoder.needs-code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("silent")
def test_nothing_of_a_model_runs_its_own_code(bert: Path, tmp_path: Path) -> None:
    """Whatever is asked for, also of a model that transformers knows, beside whose files a module lies."""
    from transformers import AutoProcessor

    marker = tmp_path / "ran"
    folder = with_own_code(tmp_path / "own", marker)
    known = with_own_code(shutil.copytree(bert, tmp_path / "bert"), marker)
    config = json.loads((bert / "config.json").read_text())
    (known / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.C"}}))
    for source in (folder, known):
        model = Pretrained(str(source), "the model")
        for load in (model.tokenizer, model.image_processor, lambda: model.processor(AutoProcessor)):  # noqa: B023
            with pytest.raises(PartError):
                load()
    shutil.copy(bert / "model.safetensors", known)
    assert type(Pretrained(str(known), "the model").network(AutoModel)).__name__ == "BertModel"
    assert not marker.exists()


def test_compiled_code_from_the_hub_is_refused(bert: Path, copied: Copy) -> None:
    config = json.loads((bert / "config.json").read_text()) | {"attn_implementation": "someone/kernel"}
    folder = copied(bert, config__json=json.dumps(config).encode())
    with raises("encoder.needs-code", match=r"asks for compiled code from the Hub \(someone/kernel\)"):
        TransformerEncoder(str(folder)).build()


@pytest.mark.usefixtures("silent")
def test_a_runs_folder_runs_no_code_either(bert: Path, tmp_path: Path) -> None:
    """What a run keeps of an encoder is a stranger's as much as any model."""
    marker = tmp_path / "ran"
    with raises("encoder.needs-code"):
        TransformerEncoder("x").build(saved=with_own_code(tmp_path / "saved", marker))
    known = with_own_code(shutil.copytree(bert, tmp_path / "known"), marker)
    shutil.copy(bert / "config.json", known)
    shutil.copy(bert / "tokenizer.json", known)
    TransformerEncoder("x").build(
        saved=known
    )  # of a kind that transformers has, and with what that kind needs
    assert not marker.exists()
