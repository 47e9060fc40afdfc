"""Checkpoints for resuming: safetensors and JSON, complete or absent, no pickle."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.config.values import Problems, fit
from mmkit.errors import RunError, one_line
from mmkit.files import crc32_of, explained, read_json, sync_folder, write_json
from mmkit.ops.sharded import gathered_whole, like
from mmkit.runs.weights import load_tensors, load_weights, save_tensors

PROGRESS = "progress.json"
AGAIN = "put the file back, or remove the folder checkpoint/ and resume: the run then begins again"
"""A hint."""


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
    unscored: int = 0
    """The epoch of the last update, if its evaluation is due and was stopped; else 0."""
    seconds: float = 0.0
    log_bytes: int = 0
    """Length of `metrics.jsonl` at this point; lines that a killed run wrote later are dropped when it is resumed."""
    unlogged: dict[str, Any] = field(default_factory=dict)
    """`Watch.state`: losses that are not in `metrics.jsonl` yet. Empty in checkpoints of earlier versions."""
    checks: dict[str, int] = field(default_factory=dict)
    """CRC-32 of the files beside this one. Empty in checkpoints of earlier versions."""

    def check(self) -> None:
        """Raise `ValueError` for what no run can have come to."""
        counts = (
            self.epoch - 1,
            self.done,
            self.step,
            self.best_epoch,
            self.best_step,
            self.stale,
            self.unscored,
            self.log_bytes,
        )
        if not all(0 <= count < 1 << 62 for count in counts) or not 0 <= self.seconds < math.inf:
            raise ValueError("a count is negative or far too large")
        if self.unlogged:
            numbers = [self.unlogged[name] for name in ("updates", "examples", "seconds")]
            if not all(isinstance(n, int | float) for n in [*numbers, *self.unlogged["sums"].values()]):
                raise TypeError("the losses that are not logged are no numbers")

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


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, progress: Progress, *, write: bool = True
) -> None:
    """Write `folder/step-N` completely, then remove older ones: a kill at any moment leaves a complete one.

    A later checkpoint after the same update, which an evaluation that was stopped has, is `step-N.001` and so on.
    If weights are spread over processes, all of them must call it, and one is to `write`. The files are the same
    as if nothing were spread.
    """
    if not write:
        gathered_whole(trained_state(model), keep=False)
        gathered_whole(_moments(model, optimizer), keep=False)
        return
    final = folder / _unused(folder, f"step-{progress.step:09d}")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        save_tensors(temporary / "model.safetensors", gathered_whole(trained_state(model)))
        save_tensors(temporary / "optimizer.safetensors", gathered_whole(_moments(model, optimizer)))
        progress.checks = {path.name: crc32_of(path) for path in sorted(temporary.glob("*.safetensors"))}
        write_json(temporary / PROGRESS, asdict(progress))
        with explained(folder):
            sync_folder(temporary)
            temporary.rename(final)
            sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def _unused(folder: Path, name: str) -> str:
    """`name`, or the next after it: one that is replaced must not be removed before."""
    taken = sorted(path.name for path in folder.glob(f"{name}*"))
    if not taken:
        return name
    number = taken[-1].rpartition(".")[2]
    return f"{name}.{int(number) + 1 if number.isdecimal() else 1:03d}"


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Restore model and optimizer from the newest checkpoint, and return its state: the start if there is none.

    Raises `RunError` if it is damaged or does not fit.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return Progress()
    newest = found[-1]
    progress = _read_progress(newest)
    _check_files(newest, progress)
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
        if value.dim() and value.shape != parameter.shape:
            raise RunError(
                f"the checkpoint's optimizer has {kind} of {name} in the shape {tuple(value.shape)}, "
                f"not {tuple(parameter.shape)}",
                where=newest,
                code="run.weights-do-not-fit",
            )
        on_device = kind != "step" or optimizer.defaults.get("fused", False)
        value = value.to(parameter.device) if on_device else value
        optimizer.state[parameter][kind] = like(value, parameter) if value.dim() else value
    return progress


def _check_files(checkpoint: Path, progress: Progress) -> None:
    """Raise `RunError` for a file that is not what was written; one that is missing is found by who reads it."""
    for name, check in progress.checks.items():
        path = checkpoint / Path(name).name
        if path.is_file() and crc32_of(path) != check:
            raise RunError(
                "the checkpoint is damaged: the contents of this file are not what was written",
                where=path,
                hint=AGAIN,
                code="run.damaged",
            )


def _read_progress(checkpoint: Path) -> Progress:
    path = checkpoint / PROGRESS
    try:
        content = read_json(path)
        problems = Problems()
        fitted = fit(content, Progress, "", problems)
        if not isinstance(fitted, dict) or problems.found:
            raise ValueError("; ".join(f"{problem.path}: {problem}" for problem in problems.found))
        progress = Progress(**fitted)
        progress.check()
        return progress
    except (OSError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise RunError(
            f"the checkpoint is damaged: {one_line(error)}",
            where=path,
            hint=AGAIN,
            code="run.damaged",
        ) from error


def _moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    names = _names(model, optimizer)
    return {
        f"{key}/{names[parameter]}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def _names(model: nn.Module, optimizer: Optimizer) -> dict[Tensor, str]:
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    return {parameter: name for name, parameter in model.named_parameters() if parameter in trained}
