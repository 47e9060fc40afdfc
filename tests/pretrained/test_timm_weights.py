"""Weights of timm's models: all of an encoder's are pretrained, and what is left out is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.timm_pyramid import TimmPyramidEncoder
from mmkit.pretrained.timm_models import TimmModel
from raising import raises

Copy = Callable[..., Path]

CFG: dict[str, dict[str, Any]] = {
    "resnet18": {"num_classes": 3, "input_size": [3, 64, 64], "first_conv": "conv1", "classifier": "fc"},
    "vit_tiny_patch16_224": {"num_classes": 3, "input_size": [3, 224, 224], "classifier": "head"},
    "mobilenetv3_small_050": {"num_classes": 3, "input_size": [3, 64, 64], "classifier": "classifier"},
}
"""Architectures whose feature maps timm makes in three ways, and their configurations."""


def timm_folder(folder: Path, state: dict[str, torch.Tensor]) -> TimmEncoder:
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return TimmEncoder(str(folder))


@pytest.mark.parametrize("classes", [0, 3])
def test_no_timm_encoder_is_new_in_silence(classes: int, resnet_timm: Path, copied: Copy) -> None:
    """With a classifier in the weights, timm loads what there is and leaves the rest as it was drawn."""
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["num_classes"] = classes
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(resnet_timm / "model.safetensors")
    fewer = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.0.conv")}
    for kind in (TimmEncoder, TimmPyramidEncoder):
        timm_folder(folder, fewer)
        with raises("encoder.missing-weights", match=r"layer4\.0\.conv1"):
            kind(str(folder)).build()


def test_timms_words_name_the_file_or_are_dropped(
    resnet_timm: Path, copied: Copy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["num_classes"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(resnet_timm / "model.safetensors")
    head = {"fc.weight": torch.ones(3, 64), "fc.bias": torch.ones(3)}
    timm_folder(folder, state | head)
    TimmEncoder(str(folder)).build()
    TimmPyramidEncoder(str(folder)).build()
    assert caplog.text == "" and capfd.readouterr() == ("", "")
    timm_folder(folder, state | head | {"layer9.conv.weight": torch.ones(2)})
    TimmPyramidEncoder(str(folder)).build()
    assert (
        f"the weights of {str(folder)!r} hold 1 tensors that the network has no place for (layer9"
        in caplog.text
    )
    assert "Unexpected keys" not in capfd.readouterr().err + caplog.text


def test_weights_of_another_architecture_are_refused(resnet_timm: Path, copied: Copy) -> None:
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["channels"] = [16, 32, 48, 80]
    (folder / "config.json").write_text(json.dumps(config))
    with raises("encoder.missing-weights", match="its weights are another network's: .*layer4"):
        TimmEncoder(str(folder)).build()


@pytest.fixture
def timm_with_classifier(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with a model of this architecture and its classifier, as timm publishes them."""

    def make(architecture: str) -> Path:
        network = timm.create_model(architecture, num_classes=3)
        config = {"architecture": architecture, "num_classes": 3, "pretrained_cfg": CFG[architecture]}
        (tmp_path / "config.json").write_text(json.dumps(config))
        timm_folder(tmp_path, network.state_dict())
        return tmp_path

    return make


@pytest.mark.parametrize("architecture", CFG)
def test_no_classifier_is_missed_that_the_encoder_does_not_have(
    architecture: str, timm_with_classifier: Callable[[str], Path]
) -> None:
    """For feature maps, timm loads a network without its classifier and then takes that off."""
    folder = timm_with_classifier(architecture)
    for encoder in (TimmEncoder(str(folder)), TimmPyramidEncoder(str(folder), levels=[-1])):
        encoder.build()
        saved = load_file(folder / "model.safetensors")
        own = {name.removeprefix("model."): tensor for name, tensor in encoder.backbone.state_dict().items()}
        assert own and all(torch.equal(tensor, saved[name]) for name, tensor in own.items())


@pytest.mark.parametrize("architecture", CFG)
def test_a_classifier_that_is_used_may_not_be_missing(
    architecture: str, timm_with_classifier: Callable[[str], Path]
) -> None:
    folder = timm_with_classifier(architecture)
    classifier = CFG[architecture]["classifier"]
    with raises("encoder.missing-weights", match=rf"lack 2 tensors of the network, {classifier}\.weight"):
        TimmModel(str(folder)).create(num_classes=5)
