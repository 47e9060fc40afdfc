"""How float32 is multiplied, and that the user's own settings of PyTorch are left as they were."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest
import torch

from mmkit.ops.precision import computing, float32_products, full_float32, products_of

CPU = torch.device("cpu")


def places() -> dict[str, object]:
    backends = torch.backends
    return {
        "all": backends,
        "cudnn": backends.cudnn,
        "matmul": backends.cuda.matmul,
        "conv": backends.cudnn.conv,
        "rnn": backends.cudnn.rnn,
        "mkldnn matmul": backends.mkldnn.matmul,
        "mkldnn conv": backends.mkldnn.conv,
    }


def settings() -> dict[str, str]:
    return {name: place.fp32_precision for name, place in places().items()}


@pytest.fixture(autouse=True)
def restored():
    """The settings of this process as other tests need them."""
    before = settings()
    yield
    torch.backends.fp32_precision = "none"
    torch.backends.cudnn.fp32_precision = "none"
    for name, place in places().items():
        if place.fp32_precision != before[name]:
            place.fp32_precision = before[name]
    assert settings() == before


OWN = [
    {},
    {"matmul": "tf32"},
    {"all": "tf32"},
    {"cudnn": "tf32"},
    {"all": "ieee", "conv": "tf32"},
    {"mkldnn matmul": "bf16"},
    {"matmul": "ieee", "conv": "ieee"},
]


@pytest.mark.parametrize(("own", "how"), list(product(OWN, ["ieee", "tf32"])))
def test_inside_it_is_what_was_asked_for_and_outside_what_the_user_set(own, how):
    for name, value in own.items():
        places()[name].fp32_precision = value
    before = settings()
    with float32_products(how):
        assert set(settings().values()) == {how}
    assert settings() == before


def test_it_nests():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = settings()
    with products_of("tf32"):
        with full_float32(CPU):
            assert set(settings().values()) == {"ieee"}
        assert set(settings().values()) == {"tf32"}
    assert settings() == before


def test_what_followed_another_setting_still_follows_it():
    torch.backends.fp32_precision = "tf32"
    with full_float32(CPU):
        pass
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_an_error_inside_leaves_nothing_behind():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = settings()
    with pytest.raises(ZeroDivisionError), full_float32(CPU):
        raise ZeroDivisionError
    assert settings() == before


def test_users_of_the_older_interface_can_go_on_with_it():
    """In a process of its own, for the older interface refuses to answer once the newer one was used apart from it."""
    script = """
import torch
from mmkit.ops.precision import full_float32
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = False
with full_float32(torch.device("cpu")):
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
assert torch.backends.cuda.matmul.allow_tf32 is True
assert torch.backends.cudnn.allow_tf32 is False
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_full_float32_ends_autocast():
    x = torch.ones(2, 2)
    with computing(CPU, "bf16"):
        assert (x @ x).dtype == torch.bfloat16
        with full_float32(CPU):
            assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize(("precision", "how"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_a_recipe_decides_whatever_the_process_is_set_to(precision, how):
    torch.backends.cuda.matmul.fp32_precision = "ieee" if how == "tf32" else "tf32"
    for inside in (computing(CPU, precision), products_of(precision)):
        with inside:
            assert torch.backends.cuda.matmul.fp32_precision == how


def test_bf16_leaves_products_of_float32_as_they_are():
    before = settings()
    for inside in (computing(CPU, "bf16"), products_of("bf16")):
        with inside:
            assert settings() == before
