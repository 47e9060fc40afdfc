"""Weights in several files: each is checked before any is loaded, in a local folder and in one from the Hub."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from refusals import message

Copy = Callable[..., Path]
PARTS = 3


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def sharded(bert_bin: Path, copied: Copy) -> Path:
    """A model with its weights in several files of `torch.save`, and an index."""
    folder = copied(bert_bin)
    whole = folder / "pytorch_model.bin"
    state = torch.load(whole, weights_only=True)
    whole.unlink()
    names = list(state)
    files = {}
    for part in range(PARTS):
        file = f"pytorch_model-{part + 1:05}-of-{PARTS:05}.bin"
        torch.save({name: state[name] for name in names[part::PARTS]}, folder / file)
        files |= dict.fromkeys(names[part::PARTS], file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": files}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(params=["folder", "hub"])
def named(request: pytest.FixtureRequest, sharded: Path, kept: Callable[..., Path]) -> tuple[str, Path]:
    """The name of the model, and where its files are."""
    if request.param == "folder":
        return str(sharded), sharded
    return "someone/sharded", kept("someone/sharded", sharded)


def test_a_pickle_in_several_files_has_the_weights_of_the_whole(named: tuple[str, Path], bert: Path) -> None:
    name, _ = named
    one, other = TransformerEncoder(name), TransformerEncoder(str(bert))
    one.build()
    other.build()
    theirs = dict(other.named_parameters())
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in one.named_parameters())


@pytest.mark.parametrize("part", range(PARTS))
def test_code_in_any_of_the_files_is_refused_and_not_run(
    part: int, named: tuple[str, Path], tmp_path: Path
) -> None:
    name, folder = named
    file = sorted(folder.glob("pytorch_model-*.bin"))[part]
    torch.save({"a": torch.ones(2), "b": Hostile(tmp_path / "ran")}, file)
    for attempt in (TransformerEncoder(name).build, lambda: list(TransformerEncoder(name).problems())):
        try:
            errors = attempt() or []
        except PartError as error:
            errors = [error]
        assert [error.code for error in errors] == ["encoder.needs-code"]
        assert f"{file.name} would run code when it is read" in str(errors[0])
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_among_the_files_is_refused(named: tuple[str, Path]) -> None:
    name, folder = named
    file = sorted(folder.glob("pytorch_model-*.bin"))[-1]
    file.write_bytes(pickle.dumps({"a": 1}))
    assert f"{file.name} is a pickle, but not one of torch.save" in message(TransformerEncoder(name))


def test_a_file_that_the_index_names_and_nobody_has_is_named(named: tuple[str, Path]) -> None:
    name, folder = named
    file = sorted(folder.glob("pytorch_model-*.bin"))[1]
    file.unlink()
    with pytest.raises(PartError) as caught:
        TransformerEncoder(name).build()
    assert file.name in str(caught.value)


def test_an_index_that_names_files_elsewhere_is_refused(named: tuple[str, Path]) -> None:
    name, folder = named
    index = {"metadata": {}, "weight_map": {"a": "../../x.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(PartError, match="does not say which tensor is in which file"):
        TransformerEncoder(name).build()


def test_a_configuration_that_names_a_pickle_of_its_own_is_refused(bert: Path, copied: Copy) -> None:
    folder = copied(bert)
    torch.save({"a": torch.ones(2)}, folder / "adapter_model.bin")
    config = json.loads((folder / "config.json").read_text()) | {"transformers_weights": "adapter_model.bin"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PartError, match=r"takes the weights from 'adapter_model\.bin'"):
        TransformerEncoder(str(folder)).build()
