"""Reading authors' checkpoint files: what is in them is never executed, and what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mmkit.hooks import hookimpl, registered
from mmkit.runs.importing import Importer, find_importer, read_state_dict
from raising import raises

STATE = {"a.weight": torch.arange(4.0).reshape(2, 2), "a.bias": torch.ones(2)}


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.bin", "m.ckpt"])
def test_reads_what_torch_saved(tmp_path: Path, name: str) -> None:
    torch.save(STATE, tmp_path / name)
    assert same(read_state_dict(tmp_path / name))


def test_reads_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    assert same(read_state_dict(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_finds_a_state_dict_beside_other_things(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: STATE}, tmp_path / "m.pth")
    assert same(read_state_dict(tmp_path / "m.pth"))


def test_the_prefix_of_a_model_trained_in_parallel_is_taken_off(tmp_path: Path) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "m.pth")
    assert same(read_state_dict(tmp_path / "m.pth"))


def test_a_file_that_asks_to_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({**STATE, "extra": Hostile(tmp_path / "pwned")}, tmp_path / "m.pth")
    with raises("import.runs-code"):
        read_state_dict(tmp_path / "m.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 200])
def test_a_truncated_file_is_damaged(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"m{suffix}"
    torch.save(STATE, path) if suffix == ".pth" else save_file(
        {n: t.repeat(9, 9) for n, t in STATE.items()}, path
    )
    path.write_bytes(path.read_bytes()[:kept])
    said = "is cut off" if kept else r"is empty \(0 bytes\)"
    with raises("import.damaged", match=rf"m{suffix}: the file {said}"):
        read_state_dict(path)


def test_a_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# mmkit\n\nhow to\n")
    with raises("import.not-a-checkpoint") as error:
        read_state_dict(tmp_path / "README.md")
    assert "README.md: the file is plain text, not the file itself" in str(error.value)
    assert "weights_only" not in str(error.value)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with raises("file.missing"):
        read_state_dict(tmp_path / "m.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 1}, torch.ones(2)])
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "m.pth")
    with raises("import.no-state-dict"):
        read_state_dict(tmp_path / "m.pth")


class ToyImporter(Importer):
    def recipe(self, state: Any) -> str:
        return "toy"

    def labels(self, state: Any) -> dict[str, Any]:
        return {}

    def convert_state(self, state: Any) -> dict[str, torch.Tensor]:
        return dict(state)


class ToyPlugin:
    @hookimpl
    def mmkit_importers(self) -> dict[str, str]:
        return {"toy": f"{__name__}:ToyImporter"}


def test_importers_are_found_by_paper() -> None:
    with registered(ToyPlugin()):
        assert isinstance(find_importer("toy"), ToyImporter)
        with raises("import.unknown-paper", match="no plugin imports checkpoints of 'toi'") as caught:
            find_importer("toi")
    assert "'toy'" in caught.value.hint


def test_an_importer_that_cannot_be_loaded_is_one_message() -> None:
    class Plugin:
        @hookimpl
        def mmkit_importers(self) -> dict[str, str]:
            return {"toy": "toy_gone:ToyImporter"}

    with registered(Plugin()), raises("plugin.importer", match="'toy' cannot be loaded: .*toy_gone"):
        find_importer("toy")
