"""The authors' optimiser: the same steps from the same gradients, found by its name, and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from golden import CLOSE, golden_files, reference_tensor, salt_of
from mmkit.config.settings import TrainingSettings
from mmkit.training.optimizer import Schedule, make_optimizer
from mmkit_umt.bert_adam import BertAdam, warmup_linear

UPDATES = 20
"""What the golden schedule lasts; beyond it the authors' rate is negative, and ours 0."""


@pytest.mark.parametrize("file", golden_files("umt_bertadam"))
def test_golden_steps(file: Path) -> None:
    golden, salt = load_file(file), salt_of(file)
    model = nn.ParameterDict(
        {name: reference_tensor(name, shape, salt) for name, shape in (("matrix", [4, 3]), ("bias", [5]))}
    )
    settings = TrainingSettings(
        epochs=1,
        optimizer="umt.bert_adam.v1",
        learning_rate=0.05,
        weight_decay=0.01,
        no_decay="bias",
        schedule="umt.warmup_linear.v1",
        warmup=0.1,
    )
    optimizer = make_optimizer(model, settings)
    schedule = Schedule(optimizer, settings, UPDATES)
    for step in range(UPDATES):
        for name, parameter in model.items():
            parameter.grad = golden[f"gradient_{name}"][step].clone()
        schedule.set(step)
        optimizer.step()
        for name, parameter in model.items():
            torch.testing.assert_close(parameter.data, golden[name][step], **CLOSE)


def test_the_rate_rises_then_falls_and_stays_at_zero() -> None:
    factor = warmup_linear(20, 2)
    assert [factor(n) for n in (0, 1, 2, 10, 20, 23)] == [0.0, 0.5, 0.9, 0.5, 0.0, 0.0]
    assert warmup_linear(10, 0)(0) == 1.0


def test_each_tensor_is_clipped_by_itself() -> None:
    large, small = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    large.grad, small.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])
    optimizer = BertAdam([large, small], lr=0.1, weight_decay=0.0)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[large]["exp_avg"], torch.tensor([0.06, 0.08]))
    torch.testing.assert_close(optimizer.state[small]["exp_avg"], torch.tensor([0.03, 0.04]))


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    used.grad = torch.ones(2)
    BertAdam([used, unused], lr=0.1).step()
    assert (used < 1).all() and (unused == 1).all()
