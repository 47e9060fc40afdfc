"""Checkpoints that papers' authors published, as mmkit runs: `mmkit import-checkpoint PAPER FILE OUT`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmkit.config.packages import part_hint
from mmkit.decoders.base import Labels
from mmkit.errors import DataError, PartError, RunError, did_you_mean
from mmkit.hooks import call_each, load_named
from mmkit.model import Model, assemble
from mmkit.pretrained.bad_files import BadFile
from mmkit.pretrained.checkpoints import read_weights
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run, save_run
from mmkit.runs.weights import load_weights

State = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training code commonly saves the state dict, together with other things."""

PARALLEL = "module."
"""The prefix that torch's `DataParallel` adds to every name."""


class Importer(ABC):
    """Imports one paper's checkpoints. A plugin names its class in the hook `mmkit_importers`."""

    @abstractmethod
    def recipe(self, state: State) -> str:
        """Name of the shipped recipe to which a state dict belongs. Raises `DataError` if it belongs to none."""

    @abstractmethod
    def labels(self, state: State) -> Labels:
        """The labels with which the checkpoint was trained, in the form of the recipe's decoder."""

    @abstractmethod
    def convert_state(self, state: State) -> dict[str, Tensor]:
        """The same tensors under the names of mmkit's model; pure.

        An encoder that gets no tensor keeps its pretrained weights. Raises a `DataError` that lists unknown and
        missing names.
        """


def import_checkpoint(
    paper: str,
    file: str | Path,
    out: str | Path,
    overrides: Mapping[str, Any] | None = None,
    recipe: str | None = None,
) -> Run:
    """Make a run folder `out` from an authors' checkpoint, for `mmkit evaluate` and `predict` to use.

    The recipe is the one the importer recognises, unless named; `overrides` are dotted settings. Nothing in the file
    is executed. Raises `PartError` for an unknown paper, `DataError` for a file that is not such a checkpoint, and
    `RunError` if its tensors do not fit the recipe's model or `out` is not empty.
    """
    importer = find_importer(paper)
    state = read_state_dict(file)
    try:  # before a backbone is fetched
        name = recipe or importer.recipe(state)
        labels, tensors = importer.labels(state), importer.convert_state(state)
    except DataError as error:
        raise error.at(error.where or file) from error
    chosen = load_recipe(name, overrides or {})
    model = assemble(chosen, labels=labels)
    load_converted(model, tensors, Path(file))
    return save_run(out, chosen, model, {"imported_from": {"paper": paper, "file": Path(file).name}})


def find_importer(paper: str) -> Importer:
    """The installed importer for a paper. Raises `PartError` naming the papers there are."""
    known = {name: target for _, found in call_each("mmkit_importers") for name, target in found.items()}
    if paper not in known:
        raise PartError(
            f"no plugin imports checkpoints of {paper!r}",
            hint=part_hint(paper) or did_you_mean(paper, known),
            code="import.unknown-paper",
        )
    unloadable = f"the importer of {paper!r} cannot be loaded"
    importer: Importer = load_named(unloadable, known[paper], code="plugin.importer")()
    return importer


def read_state_dict(file: str | Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file or in one that `torch.save` wrote; nothing in it is executed.

    A state dict that is saved with other things (`{"state_dict": ..., "epoch": ...}`) is found. Raises `DataError`
    for a file that is missing, is damaged, asks to run code, or contains no state dict.
    """
    path = Path(file)
    content = _read(path)
    for wrapper in WRAPPERS:
        inner = content.get(wrapper) if isinstance(content, Mapping) else None
        if isinstance(inner, Mapping):
            content = inner
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        raise DataError(
            f"there is no state dict in this file, but a {type(content).__name__}",
            where=path,
            code="import.no-state-dict",
        )
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return state


def _read(path: Path) -> Any:
    if not path.exists():
        raise DataError("there is no such file", where=path, code="file.missing")
    try:
        return read_weights(path)
    except BadFile as error:
        what, hint = f"the file {error.what}", error.hint
        if error.kind == "code":
            raise DataError(what, where=path, hint=hint, code="import.runs-code") from error
        if error.kind == "foreign":
            raise DataError(what, where=path, hint=hint, code="import.not-a-checkpoint") from error
        raise DataError(what, where=path, hint=hint, code="import.damaged") from error


def rename(state: State, names: Mapping[str, str], unused: tuple[str, ...], paper: str) -> dict[str, Tensor]:
    """The tensors of `state` under the names that `names` gives them, without those that begin as in `unused`.

    Raises `DataError` as `check_names` does.
    """
    used = {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    check_names(used, names, paper)
    return {names[name]: tensor for name, tensor in used.items()}


def check_names(there: Iterable[str], expected: Iterable[str], paper: str, hint: str = "") -> None:
    """Raise a `DataError` that lists unknown and missing tensors of a paper, if there are any."""
    there, expected = set(there), set(expected)
    problems = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:8])}{', …' if len(names) > 8 else ''}"
        for what, names in (("unknown", there - expected), ("missing", expected - there))
        if names
    ]
    if problems:
        raise DataError(
            f"this is not a {paper} checkpoint as the authors' code writes it; tensors "
            + "; ".join(problems),
            hint=hint or "only checkpoints of the authors' own models can be imported",
            code="import.not-of-paper",
        )


def load_converted(model: Model, state: State, source: Path) -> None:
    """Load converted tensors strictly, except for encoders that get none: those keep their pretrained weights.

    Counters of batch normalisation are not needed: nothing uses them in evaluation mode.
    """
    stand_ins = tuple(
        prefix
        for prefix in (f"encoders.{name}." for name in model.named_encoders)
        if not any(name.startswith(prefix) for name in state)
    )
    expected = {
        name
        for name in model.state_dict()
        if not name.startswith(stand_ins) and not name.endswith("batches_tracked")
    }
    try:
        load_weights(model, state, source, only=expected)
    except RunError as error:
        raise error.at(
            source, "override the recipe's pretrained models with those that the file was trained with"
        ) from error
