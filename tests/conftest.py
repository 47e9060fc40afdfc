"""Shared fixtures: where the published data and the golden numbers lie, and a cache of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matrix import leave_out_matrix

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds the published datasets; tests on it skip where it is missing."""
    folder = Path(os.environ.get("MMKIT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the published datasets are not beside the project")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests."""
    os.environ.setdefault("MMKIT_CACHE", str(tmp_path_factory.mktemp("mmkit-cache")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out_matrix(config, items)


RECIPE = """
[recipe]
format = 1
seed = 7

[data]
missing_images = "error"

[data.train]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "train.txt"

[data.dev]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "valid.txt"

[data.test]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "test.txt"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "bert-base-uncased"

[model.encoders.vision]
@encoders = "mmkit.timm.v1"
name = "resnet18"

[model.fuser]
@fusers = "mmkit.concat.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 2
batch_size = 16
learning_rate = 1e-3
warmup = 0.1
clip = 1.0
score = "spans.f1"
"""


@pytest.fixture(scope="session")
def unsampled_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of a tagger with text and pictures, whose data are nowhere."""
    path = tmp_path_factory.mktemp("recipe") / "concat.cfg"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def sample_recipe(unsampled_recipe: Path) -> Path:
    """That recipe filled, on sample data: it trains in seconds."""
    from mmkit.loading.sample import sampled
    from mmkit.recipe import load_recipe

    path = unsampled_recipe.with_name("concat_sample.cfg")
    path.write_text(sampled(load_recipe(unsampled_recipe)).to_str(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tagger(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tags spans, with pictures."""
    from mmkit.recipe import load_recipe
    from mmkit.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "tagger"
    settings = {"training.epochs": 3, "training.learning_rate": 3e-3}
    train(load_recipe(sample_recipe, settings), folder, device="cpu")
    return folder
