"""Checkpoints for resuming: safetensors and JSON, complete or absent, no pickle."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.errors import RunError
from mmkit.files import explained, sync_folder, write_json
from mmkit.runs.weights import load_tensors, load_weights, save_tensors


@dataclass
class Progress:
    """The state of training. Order and random numbers depend only on the seed and these numbers."""

    epoch: int = 1
    """The epoch of the next update."""
    done: int = 0
    """Updates of that epoch already made."""
    step: int = 0
    """Updates made in total."""
    best_score: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    """The update after which `model.safetensors` was written; 0 before that."""
    stale: int = 0
    """Evaluations since the best."""
    seconds: float = 0.0
    log_bytes: int = 0
    """Length of `metrics.jsonl` at this point; lines that a killed run wrote later are dropped when it is resumed."""
    unlogged: dict[str, Any] = field(default_factory=dict)
    """`Watch.state`: losses that are not in `metrics.jsonl` yet. Empty in checkpoints of earlier versions."""

    def is_better(self, score: float, ties: Literal["earlier", "later"]) -> bool:
        """Count an evaluation, and say whether it is the best so far."""
        best = self.best_score
        better = best is None or score > best or (score == best and ties == "later")
        if better:
            self.best_score = score
        self.stale = 0 if better else self.stale + 1
        return better


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
    """Write `folder/step-N` completely, then remove older ones: a kill at any moment leaves a complete one."""
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
    """Restore model and optimizer from the newest checkpoint, and return its state: the start if there is none.

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
                f"the checkpoint's optimizer has a parameter {name} that the model does not have",
                where=newest,
                code="run.weights-do-not-fit",
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
            f"the checkpoint is damaged: {error}",
            where=path,
            hint="remove it and start again",
            code="run.damaged",
        ) from error


def _names(model: nn.Module, optimizer: Optimizer) -> dict[Tensor, str]:
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    return {parameter: name for name, parameter in model.named_parameters() if parameter in trained}
