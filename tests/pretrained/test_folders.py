"""Folders of pretrained models in another format or with files missing: one message with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.timm_pyramid import TimmPyramidEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from refusals import LFS, message

Copy = Callable[..., Path]


def test_a_folder_in_the_other_librarys_format_says_so(resnet_hf: Path, resnet_timm: Path) -> None:
    said = message(TimmPyramidEncoder(str(resnet_hf)))
    assert "the folder is in transformers' format (resnet)" in said and "resnet50.a1_in1k" in said
    said = message(TransformerEncoder(str(resnet_timm)))
    assert "the folder is in timm's format (resnet18)" in said and "mmkit.timm.v1" in said


def test_a_bare_file_of_weights_says_what_it_lacks(resnet_timm: Path, tmp_path: Path) -> None:
    state = load_file(resnet_timm / "model.safetensors")
    torch.save(state, tmp_path / "resnet18.pth")
    said = message(TimmEncoder(str(tmp_path / "resnet18.pth")))
    assert "is one file of weights, not a folder with a model" in said
    assert '{"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {}}' in said
    assert "is one file of weights" in message(TransformerEncoder(str(tmp_path / "resnet18.pth")))
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "empty.pth is empty" in message(TimmEncoder(str(tmp_path / "empty.pth")))


def test_what_is_said_of_a_bare_file_works(resnet_timm: Path, tmp_path: Path) -> None:
    state = load_file(resnet_timm / "model.safetensors")
    config = json.loads((resnet_timm / "config.json").read_text())
    short = {
        "architecture": "resnet18",
        "num_classes": 0,
        "model_args": config["model_args"],
        "pretrained_cfg": {},
    }
    (tmp_path / "config.json").write_text(json.dumps(short))
    torch.save(state, tmp_path / "model.pth")
    encoder = TimmEncoder(str(tmp_path))
    encoder.build()
    own = encoder.backbone.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("names", "said", "hint"),
    [
        ((), "the folder is empty", "must contain config.json"),
        (
            ("model.safetensors",),
            "the folder has no config.json",
            "must contain config.json, model.safetensors and",
        ),
        (("config.json",), "the folder has no weights", "download model.safetensors"),
        (
            ("config.json", "tf_model.h5"),
            "no weights; there is tf_model.h5 (TensorFlow's weights)",
            "download",
        ),
        (("adapter_config.json",), "holds an adapter (PEFT), not a whole model", "merge it"),
        (("snapshots/abc/config.json",), "the folder has no config.json", "snapshots/abc: name that folder"),
        (("params.json",), "the folder has no config.json", "the authors' own format"),
    ],
)
def test_what_a_folder_lacks_is_said(names: tuple[str, ...], said: str, hint: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"model_type": "bert"}')
    found = str(next(TransformerEncoder(str(tmp_path)).problems()))
    assert said in found and hint in found


def test_everything_that_a_folder_lacks_is_said_at_once(bert: Path, copied: Copy) -> None:
    folder = copied(bert, without=("tokenizer.json",), model__safetensors=LFS)
    codes = [error.code for error in TransformerEncoder(str(folder), revision="abc").problems()]
    assert codes == ["encoder.revision", "encoder.unloadable", "encoder.no-tokenizer"]
    with pytest.raises(PartError) as caught:
        TransformerEncoder(str(folder)).build()
    assert [error.code for error in caught.value.each] == codes[1:]
    moved = caught.value.at("recipe.cfg: [model.encoders.text]")
    assert str(moved).count("recipe.cfg: [model.encoders.text]: cannot load the text encoder") == 2


def test_an_unknown_kind_of_model_and_architecture_have_near_misses(
    bert: Path, resnet_timm: Path, copied: Copy
) -> None:
    folder = copied(bert, config__json=b'{"model_type": "modernbret"}')
    assert "did you mean 'modernbert'" in message(TransformerEncoder(str(folder)))
    folder = copied(resnet_timm, config__json=b'{"architecture": "resnet81"}')
    assert "did you mean 'resnet18'" in message(TimmEncoder(str(folder)))


def test_a_model_of_pictures_named_as_one_of_texts_says_so(resnet_hf: Path, bert: Path, copied: Copy) -> None:
    (error,) = TransformerEncoder(str(resnet_hf)).problems()
    assert "models of the kind 'resnet' usually read no texts" in error.what
    folder = copied(bert)
    (folder / "tokenizer.json").unlink()
    (error,) = TransformerEncoder(str(folder)).problems()
    assert "has no tokenizer" in error.what and "read no texts" not in error.what
