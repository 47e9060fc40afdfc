"""Weights on disk: safetensors, complete or absent, no pickle."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmkit.errors import RunError, one_line
from mmkit.files import replacing
from mmkit.files.temporary import temporary_folder
from mmkit.ops.sharded import like
from mmkit.terminal.notes import few

SAME = "same"
"""Metadata key: JSON that says under which name a tensor with several names is written."""


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically; a tensor with several names (of a shared network) is written once.

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
    with replacing(path) as temporary, temporary_folder(temporary.parent, path.name) as folder:
        # safetensors writes a temporary file beside this one, which a kill would leave behind
        made = folder / "tensors"
        try:
            save_file(owned, made, metadata=facts or None)
            _order_header(made)
            made.replace(temporary)
        except SafetensorError as error:  # safetensors turns the system's error into text
            full = "No space" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _order_header(path: Path) -> None:
    """Write the header's keys in order, so that equal weights give equal files: safetensors' own order is random."""
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        metadata = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items()))}
        ordered = {k: v for k, v in metadata.items() if v} | dict(sorted(header.items()))
        text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > size:  # safetensors writes JSON as short
            raise SafetensorError(f"a header of {len(text)} bytes in place of {size}")
        file.seek(8)
        file.write(text.ljust(size))


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same memory, seen the same way."""
    storage = tensor.untyped_storage().data_ptr()
    return (tensor.device, storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none if it is missing or damaged."""
    try:
        _check_regular(path)
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file; none if it is missing or damaged."""
    try:
        _check_regular(path)
        with safe_open(path, framework="pt") as file:
            return {*file.keys(), *json.loads((file.metadata() or {}).get(SAME, "{}"))}
    except (SafetensorError, OSError, ValueError, TypeError):
        return set()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote; names of one tensor get the same memory again.

    Raises `RunError` if the file is missing or damaged.
    """
    try:
        _check_regular(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            same = json.loads((file.metadata() or {}).get(SAME, "{}"))
        return tensors | {name: tensors[known] for name, known in same.items()}
    except FileNotFoundError as error:
        raise RunError(
            "the weights are missing",
            where=path,
            hint="was training interrupted? try --resume",
            code="run.missing-file",
        ) from error
    except (
        SafetensorError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise RunError(
            f"the weights are damaged ({size} bytes): {one_line(error)}",
            where=path,
            hint="copy the file again, or train again (--resume continues from the last complete checkpoint)",
            code="run.damaged",
        ) from error


def _check_regular(path: Path) -> None:
    """Raise `OSError` for a folder, a device or a pipe: reading one may never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")


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
    kinds = [
        f"{name}: {state[name].dtype} in the file, {own[name].dtype} in the model"
        for name in sorted(set(own) & set(state))
        if own[name].is_floating_point() != state[name].is_floating_point()
    ]
    if missing or unknown or shapes or kinds:
        problems = [f"missing {few(missing)}"] if missing else []
        problems += [f"unknown {few(unknown)}"] if unknown else []
        problems += [f"of another shape {few(shapes)}"] if shapes else []
        problems += [f"of another type {few(kinds)}"] if kinds else []
        raise RunError(
            "the weights do not fit the recipe's model: " + "; ".join(problems),
            where=source,
            hint="was recipe.cfg or labels.json edited after training?",
            code="run.weights-do-not-fit",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(like(tensor, own[name]))
