"""Weights of transformers' models that do not fit the configuration: refused by name, or left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from mmkit.encoders.transformer import TransformerEncoder
from mmkit.pretrained.networks import no_bars
from raising import raises

Copy = Callable[..., Path]


def test_weights_of_another_shape_are_named(bert: Path, copied: Copy) -> None:
    folder = copied(bert)
    config = json.loads((bert / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))
    with raises(
        "encoder.missing-weights",
        match=r"intermediate\.dense\.bias is \(16,\) there, but .* asks for \(24,\)",
    ):
        TransformerEncoder(str(folder)).build()


def test_layers_that_are_left_out_are_told_of(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    config = BertConfig.from_pretrained(bert)
    config.num_hidden_layers = 2
    with no_bars():
        BertModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(bert / file, tmp_path)
    TransformerEncoder(str(tmp_path)).build()
    assert (
        "have 16 more tensors of the same kind than its config.json asks for (encoder.layer.1." in caplog.text
    )
    assert "UNEXPECTED" not in capfd.readouterr().err
    caplog.clear()
    TransformerEncoder(str(bert)).build()
    assert caplog.text == ""


def test_a_head_for_another_task_is_left_out_in_silence(
    bert: Path, copied: Copy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(bert)
    state = load_file(bert / "model.safetensors")
    save_file(
        {**state, "cls.predictions.bias": torch.ones(3)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    TransformerEncoder(str(folder)).build()
    assert caplog.text == "" and capfd.readouterr() == ("", "")
