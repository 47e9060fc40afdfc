"""Batches from other processes: the same as without them, from workers that stay, to which only indices are sent."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from functools import partial

import psutil
import pytest
import torch

from mmkit.batch import Batch
from mmkit.inference import loader as module
from mmkit.inference.loader import Loader, pick_workers
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe
from raising import raises

PLAN = [[3, 1], [0], [7, 2, 5], [4, 6]]


@pytest.fixture(scope="module")
def prepared() -> tuple[Model, list[Item]]:
    recipe = sampled(load_recipe("text_only_twitter15"))
    examples = read_splits(recipe, ["train"])["train"].examples[:8]
    model = assemble(recipe, examples=examples)
    return model, prepare_model(model, {"train": examples}, recipe.training).items["train"]


def equal(one: Batch, other: Batch) -> bool:
    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    inputs = all(same(one.inputs[name], other.inputs[name]) for name in one.inputs)
    return one.examples == other.examples and inputs and same(one.targets, other.targets)


@pytest.mark.parametrize("targets", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_what_collate_makes(prepared, workers, targets):
    model, items = prepared
    loader = Loader(model, items, workers, targets=targets)
    for plan in (PLAN, PLAN[::-1], PLAN[:1]):
        batches = list(loader(plan))
        assert len(batches) == len(plan)
        for chosen, batch in zip(plan, batches, strict=True):
            assert equal(batch, model.collate([items[i] for i in chosen], targets))
    loader.close()


def test_workers_stay_from_pass_to_pass(prepared, monkeypatch):
    """Each batch says which process made it."""
    model, items = prepared

    def made(chosen, targets):
        return Batch((), {"process": {"id": torch.tensor([os.getpid()])}})

    monkeypatch.setattr(model, "collate", made)

    def makers(loader: Loader) -> set[int]:
        return {int(batch.inputs["process"]["id"]) for batch in loader(PLAN)}

    loader = Loader(model, items, 2)
    first = makers(loader)
    assert len(first) == 2 and os.getpid() not in first
    assert makers(loader) == first
    left = loader(PLAN)
    next(left)  # nobody takes the rest
    loader.close()
    assert not any(psutil.pid_exists(process) for process in first)
    assert not makers(loader) & first
    loader.close()
    assert makers(Loader(model, items, 0)) == {os.getpid()}


def test_a_pass_that_was_left_does_not_reach_into_the_next(prepared):
    """As when a training is stopped in an epoch and goes on."""
    model, items = prepared
    loader = Loader(model, items, 2)
    left = loader(PLAN)
    next(left)
    again = [[7], [6, 5]]
    batches = list(loader(again))
    assert [batch.examples for batch in batches] == [tuple(items[i].example for i in some) for some in again]
    loader.close()


def test_collating_reads_nothing_on_the_device(prepared):
    """A worker is forked, and CUDA does not work there. Tensors on the meta device cannot be read, either."""
    model, items = prepared
    assert equal(copy.deepcopy(model).to("meta").collate(items), model.collate(items))


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["hvpnet_twitter15", "tesga_twitter15", "dwe_wikimel"])
def test_collating_placed_features_reads_nothing_on_the_device(name):
    recipe = sampled(load_recipe(name))
    splits = read_splits(recipe, [name for name in ("train", "entities") if name in recipe.parts("data")])
    examples = splits["train"].examples[:8]
    base = splits["entities"].entities if "entities" in splits else ()
    model = assemble(recipe, examples=examples, entities=base)
    items = prepare_model(model, {"train": examples}, recipe.training).items["train"]
    stored = [encoder.stored for encoder in model.item_encoders().values() if encoder.stored is not None]
    assert stored
    for features in stored:
        features.place("cpu", float("inf"))
    expected = model.collate(items)
    for features in stored:
        features.place("meta", float("inf"))
    assert equal(model.to("meta").collate(items), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_part_that_uses_the_gpu_in_a_worker_is_one_message(prepared, monkeypatch, workers):
    model, items = prepared

    def collate(chosen, targets):
        raise RuntimeError(
            "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ..."
        )

    monkeypatch.setattr(model, "collate", collate)
    loader = Loader(model, items, workers)
    with raises("part.gpu-in-worker", match="training.workers = 0"):
        list(loader(PLAN))
    loader.close()


def test_a_worker_frees_nothing_that_was_forked(prepared, monkeypatch):
    """On a GPU, CUDA would free it. A cycle is what only the garbage collector frees."""
    model, items = prepared

    class Cycle:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            if os.getpid() != here:
                freed.append(self)

    here, freed = os.getpid(), []

    def collate(chosen, targets):
        gc.collect()
        return Batch((), {"freed": {"number": torch.tensor([len(freed)])}})

    monkeypatch.setattr(model, "collate", collate)
    gc.disable()
    try:
        Cycle()
        loader = Loader(model, items, 2)
        assert {int(batch.inputs["freed"]["number"]) for batch in loader(PLAN)} == {0}
    finally:
        gc.enable()
        loader.close()


def test_no_example_goes_through_the_pipe(prepared):
    model, items = prepared
    batch = module._collated(partial(model.collate, targets=True), items)
    assert batch.examples == () and batch.targets
    sent = pickle.dumps(batch)
    # texts, because an id of a few digits may stand in the address of a tensor
    assert not any(item.example.text.encode() in sent for item in items)
    assert items[0].example.text.encode() in pickle.dumps(model.collate(items))


def test_auto_starts_workers_only_where_a_gpu_would_wait_for_pictures(prepared, monkeypatch):
    model, _ = prepared
    assert pick_workers(3, model) == 3
    assert pick_workers("auto", model, there=16) == 0
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert pick_workers("auto", model, there=16) == 0  # texts alone
    monkeypatch.setattr(type(model.encoders["text"]), "reads_pictures", True)
    assert pick_workers("auto", model, there=16) == module.MOST
    assert pick_workers("auto", model, processes=4, there=16) == 3
    assert pick_workers("auto", model, processes=2, there=1) == 0
    monkeypatch.setattr(type(model), "item_encoders", lambda self: {"text": model.encoders["text"]})
    assert pick_workers("auto", model, there=16) == 0  # their features are stored


LEFT = """
from mmkit.inference.loader import Loader
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import assemble
from mmkit.recipe import load_recipe

recipe = sampled(load_recipe("text_only_twitter15"))
examples = read_splits(recipe, ["train"])["train"].examples[:8]
model = assemble(recipe, examples=examples)
loader = Loader(model, prepare_model(model, {"train": examples}, recipe.training).items["train"], 1)
print(next(loader([[3, 1], [0]])).targets.keys())
raise SystemExit(7)
"""


def test_workers_that_nobody_ends_end_with_python(prepared):
    """An error that is kept, with its traceback, keeps the loader too."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT], check=False, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 7, done.stderr
    assert "tags" in done.stdout
