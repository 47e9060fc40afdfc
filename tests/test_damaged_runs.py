"""A run folder that is damaged in any way is one message, or works as before: never a traceback, never a hang."""

from __future__ import annotations

import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import torch

import mmkit
from damaging import damage, files, kinds, restored
from mmkit.errors import MMKitError
from mmkit.registry import build_part
from mmkit.runs.folder import Run
from mmkit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from mmkit.training.resume import open_folder

BEFORE = Path(__file__).parent / "before"
NEEDED = ("recipe.cfg", "labels.json", "model.safetensors", "run.json")


def unpacked(name: str, folder: Path) -> Path:
    """A run of an earlier version, which has no checksums: what is damaged is found by who reads it."""
    with tarfile.open(BEFORE / "runs" / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs" / name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a checkpoint, as if it had been interrupted."""
    folder = unpacked("text_only_twitter15", tmp_path_factory.mktemp("damaged"))
    model = Run(folder).model()
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    save_checkpoint(folder / "checkpoint", model, optimizer, Progress(step=3, done=3))
    return folder


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` where a block takes longer."""

    def end(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def used(folder: Path) -> list[str]:
    """Everything that reads a run, and the messages that it ends in. Raises whatever else it raises."""
    said = []

    def predict() -> None:
        mmkit.load(folder, device="cpu").predict("Jordan is in Paris")

    def build_upon() -> None:
        build_part("encoders", "mmkit.run.v1", {"run": str(folder)}).build()

    def resume() -> None:
        run = Run(folder)
        open_folder(run, run.recipe(), resume=True)

    def restore() -> None:
        network = Run(folder).model()
        Run(folder).weights_step()
        load_checkpoint(folder / "checkpoint", network, torch.optim.AdamW(network.parameters()))

    for use in (predict, build_upon, resume, restore):
        try:
            with at_most(20):
                use()
        except MMKitError as error:
            said.append(str(error))
            assert error.code != "error" and error.what
    return said


@pytest.mark.parametrize("name", [*NEEDED, "encoders/text/config.json", "encoders/text/tokenizer.json"])
def test_a_damaged_file_is_one_message(name: str, run: Path, tmp_path: Path) -> None:
    rng = Random(name)
    for kind, change in rng.sample(sorted(kinds(run / name).items()), 6):
        folder = restored(run, tmp_path / "copy")
        how = change(folder / name, rng)
        try:
            used(folder)
        except Exception as error:
            raise AssertionError(f"{name}: {kind} {how}") from error


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(8))
def test_any_damage_is_one_message(seed: int, run: Path, tmp_path: Path) -> None:
    rng = Random(seed)
    for _ in range(25):
        folder = restored(run, tmp_path / "copy")
        how = damage(folder, rng)
        try:
            used(folder)
        except Exception as error:
            raise AssertionError(how) from error


@pytest.mark.matrix
def test_every_kind_of_damage_is_one_message(run: Path, tmp_path: Path) -> None:
    """Each kind in every third file, another third for the next kind."""
    for i, name in enumerate(files(run)):
        for kind, change in list(kinds(run / name).items())[i % 3 :: 3]:
            folder = restored(run, tmp_path / "copy")
            how = change(folder / name, Random(0))
            try:
                used(folder)
            except Exception as error:
                raise AssertionError(f"{name}: {kind} {how}") from error
