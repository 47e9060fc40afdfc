"""Checkpoints to go on from: safetensors and JSON, complete or absent, no pickle."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.errors import RunError, one_line
from mmkit.files import explained, replacing, sync_folder, write_json

SAME = "same"
"""Metadata key: JSON that says under which name a tensor is written that has several."""


@dataclass
class Progress:
    """Where training stands. Order and random draws follow from the seed and these numbers alone."""

    epoch: int = 1
    """The epoch in which the next update falls."""
    done: int = 0
    """Updates of that epoch already made."""
    step: int = 0
    """Updates made in all."""
    best_score: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    """The update after which `model.safetensors` was written; 0 before that."""
    stale: int = 0
    """Evaluations since the best."""
    seconds: float = 0.0
    log_bytes: int = 0
    """Length of `metrics.jsonl` at this point; what a killed run wrote later is dropped on resuming."""

    def is_better(self, score: float, ties: Literal["earlier", "later"]) -> bool:
        """Count an evaluation, and say whether it is the best so far."""
        best = self.best_score
        better = best is None or score > best or (score == best and ties == "later")
        if better:
            self.best_score = score
        self.stale = 0 if better else self.stale + 1
        return better


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically; one that has several names (a shared network's) is written once.

    Raises `RunError` if the disk refuses.
    """
    owned: dict[str, Tensor] = {}
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        known = first.setdefault(_place(tensor), name)
        if known != name:
            same[name] = known
            continue
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        owned[name] = (
            tensor.clone() if storage in storages else tensor
        )  # safetensors refuses overlapping ones
        storages.add(storage)
    facts = {**(metadata or {}), **({SAME: json.dumps(same)} if same else {})}
    with replacing(path) as temporary:
        try:
            save_file(owned, temporary, metadata=facts or None)
        except SafetensorError as error:  # safetensors wraps the system's error in text
            full = "No space" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same memory, seen the same way."""
    storage = tensor.untyped_storage().data_ptr()
    return (tensor.device, storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote; names of one tensor get the same memory again.

    Raises `RunError` if the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            same = json.loads((file.metadata() or {}).get(SAME, "{}"))
        return tensors | {name: tensors[known] for name, known in same.items()}
    except FileNotFoundError as error:
        raise RunError(
            "the weights are missing", where=path, hint="was training interrupted? try --resume"
        ) from error
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise RunError(
            f"the weights are damaged ({size} bytes): {one_line(error)}",
            where=path,
            hint="copy the file again, or train again (--resume goes on from the last complete checkpoint)",
        ) from error


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, and buffers of the modules that are not frozen."""
    parameters = model.named_parameters(remove_duplicate=False)  # a shared one under all of its names
    frozen = {name for name, p in parameters if not p.requires_grad}
    keep = {}
    for name, tensor in model.state_dict().items():
        module = name.rpartition(".")[0]
        siblings = {p for p, _ in model.get_submodule(module).named_parameters(recurse=False)}
        if name in frozen or (siblings and {f"{module}.{s}" for s in siblings} <= frozen):
            continue
        keep[name] = tensor
    return keep


def save_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Write `folder/step-N` whole, then drop older ones: a kill at any moment leaves a complete one."""
    final = folder / f"step-{progress.step:09d}"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        save_tensors(temporary / "model.safetensors", trained_state(model))
        names = _names(model, optimizer)
        moments = {
            f"{key}/{name}": value
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
            for name in [names[parameter]]
        }
        save_tensors(temporary / "optimizer.safetensors", moments)
        write_json(temporary / "progress.json", asdict(progress))
        with explained(folder):
            if final.exists():
                shutil.rmtree(final)
            sync_folder(temporary)
            temporary.rename(final)
            sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Restore model and optimiser from the newest checkpoint, and say where it stands: at the start if there is none.

    Raises `RunError` if it is damaged or does not fit.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return Progress()
    newest = found[-1]
    progress = _read_progress(newest)
    load_weights(model, load_tensors(newest / "model.safetensors"), newest, only=set(trained_state(model)))
    by_name = {name: parameter for parameter, name in _names(model, optimizer).items()}
    optimizer.state.clear()
    for key, value in load_tensors(newest / "optimizer.safetensors").items():
        kind, _, name = key.partition("/")
        if name not in by_name:
            raise RunError(
                f"the checkpoint's optimiser knows a parameter {name} that the model lacks", where=newest
            )
        parameter = by_name[name]
        on_device = kind != "step" or optimizer.defaults.get("fused", False)
        optimizer.state[parameter][kind] = value.to(parameter.device) if on_device else value
    return progress


def _read_progress(checkpoint: Path) -> Progress:
    path = checkpoint / "progress.json"
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint is damaged: {error}", where=path, hint="remove it and start again"
        ) from error


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], source: Path, only: set[str] | None = None
) -> None:
    """Load weights strictly (`only`: exactly these names). Raises `RunError` naming what does not fit."""
    own = model.state_dict()
    expected = set(own) if only is None else only
    missing, unknown = sorted(expected - set(state)), sorted(set(state) - set(own))
    shapes = [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in sorted(set(own) & set(state))
        if own[name].shape != state[name].shape
    ]
    if missing or unknown or shapes:
        problems = [f"missing {_few(missing)}"] if missing else []
        problems += [f"unknown {_few(unknown)}"] if unknown else []
        problems += [f"of another shape {_few(shapes)}"] if shapes else []
        raise RunError(
            "the weights do not fit the recipe's model: " + "; ".join(problems),
            where=source,
            hint="was recipe.cfg or labels.json edited after training?",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def _few(names: list[str], n: int = 4) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def _names(model: nn.Module, optimizer: Optimizer) -> dict[Tensor, str]:
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    return {parameter: name for name, parameter in model.named_parameters() if parameter in trained}
