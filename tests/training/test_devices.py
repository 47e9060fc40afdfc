"""Which precision a run computes in on a device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmkit.inference.devices import check_precision, pick_precision
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from raising import raises

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """Say what a GPU can compute in, where there is none."""

    def has(bf16: bool, tf32: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: tf32)

    return has


def test_auto_is_bf16_where_the_device_computes_in_it(gpu):
    gpu(bf16=True, tf32=True)
    assert pick_precision("auto", CPU) == "fp32"
    assert pick_precision("auto", GPU) == "bf16"
    gpu(bf16=False, tf32=False)
    assert pick_precision("auto", GPU) == "fp32"


class Weights(nn.Module):
    """So many weights in every batch, and many more whose outputs are stored."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.text = nn.Linear(count, 1, bias=False)
        self.photos = nn.Linear(20_000_000, 1, bias=False)

    def item_encoders(self) -> dict[str, nn.Module]:
        return {"photos": self.photos}


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", ""])
def test_auto_is_bf16_for_a_large_model_on_a_cpu_that_computes_in_it(monkeypatch, able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, able: True})
    expected = "bf16" if able else "fp32"
    assert pick_precision("auto", CPU, Weights(10_000_000)) == expected
    assert pick_precision("auto", CPU, Weights(9_999_999)) == "fp32"
    assert pick_precision("auto", CPU) == "fp32"


class Layers(nn.Module):
    """Two layers of so many inputs and outputs, beside stored outputs of a wide one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.photos = nn.Linear(1000, 1000)

    def item_encoders(self) -> dict[str, nn.Module]:
        return {"photos": self.photos}


@pytest.mark.parametrize(("width", "picked"), [(64, "fp32"), (383, "fp32"), (384, "bf16"), (512, "bf16")])
def test_auto_is_bf16_for_wide_layers_on_a_cpu_that_computes_in_it(monkeypatch, width, picked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert pick_precision("auto", CPU, Layers(width)) == picked
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert pick_precision("auto", CPU, Layers(width)) == "fp32"


def test_what_was_asked_for_is_used_where_the_device_has_it(gpu):
    gpu(bf16=True, tf32=True)
    for wanted in ("fp32", "tf32", "bf16"):
        assert pick_precision(wanted, GPU) == wanted
        check_precision(wanted, GPU)
    for wanted in ("fp32", "bf16"):
        assert pick_precision(wanted, CPU) == wanted
        check_precision(wanted, CPU)


def test_a_run_trained_in_tf32_predicts_in_fp32_elsewhere(gpu):
    gpu(bf16=False, tf32=False)
    assert pick_precision("tf32", CPU) == pick_precision("tf32", GPU) == "fp32"


def test_training_in_tf32_is_refused_where_it_means_nothing(tmp_path):
    recipe = sampled(load_recipe("text_only_twitter15")).with_overrides({"training.precision": "tf32"})
    with raises("device.no-tf32", match="compute") as refused:
        train(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert 'training.precision = "fp32"' in refused.value.hint
    assert not (tmp_path / "run").exists()  # said before anything is written
