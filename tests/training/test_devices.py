"""Which precision a run computes in on a device."""

from __future__ import annotations

import pytest
import torch

from mmkit.inference.devices import pick_precision
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


@pytest.mark.parametrize("training", [False, True])
def test_what_was_asked_for_is_used_where_the_device_has_it(gpu, training):
    gpu(bf16=True, tf32=True)
    for wanted in ("fp32", "tf32", "bf16"):
        assert pick_precision(wanted, GPU, training=training) == wanted
    for wanted in ("fp32", "bf16"):
        assert pick_precision(wanted, CPU, training=training) == wanted


def test_a_run_trained_in_tf32_predicts_in_fp32_elsewhere(gpu):
    gpu(bf16=False, tf32=False)
    assert pick_precision("tf32", CPU) == pick_precision("tf32", GPU) == "fp32"


def test_training_in_tf32_is_refused_where_it_means_nothing(tmp_path):
    recipe = sampled(load_recipe("text_only_twitter15")).with_overrides({"training.precision": "tf32"})
    with raises("device.no-tf32", match="compute") as refused:
        train(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert 'training.precision = "fp32"' in refused.value.hint
    assert not (tmp_path / "run").exists()  # said before anything is written
