"""Files of weights (safetensors, `torch.save`): checked before anything is unpacked, and read without running code."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

from mmkit.errors import one_line
from mmkit.pretrained.bad_files import LFS, SAID, BadFile, Look, foreign, head, is_text
from mmkit.pretrained.pickles import Content, Malformed, Unsafe, scan

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The beginning of a file of torch before 1.6: the values of its first two pickles."""

ROOM = 256 << 20
"""Bytes that every file may unpack to; a larger file may unpack to `GROWTH` times its size."""
GROWTH = 4

HEADER = 100_000_000
"""Largest size of a safetensors header in bytes, as in the library."""

CODE = "if you trust it, load it elsewhere and save only its tensors, as safetensors"


def check_weights(path: Path) -> None:
    """Raise `BadFile` unless a file can be complete weights. Only headers and pickles are read; nothing is unpacked."""
    first = head(path)
    if look := foreign(first):
        raise BadFile(path, "foreign", look.what, look.hint)
    if path.suffix == ".safetensors":
        _check_safetensors(path, first)
    else:
        _check_torch(path, first)


def read_weights(path: Path) -> Any:
    """The content of a file of weights, on the CPU. Raises `BadFile` for one that is incomplete or would run code."""
    check_weights(path)
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise errors of all kinds on a damaged file
        if called := re.search(
            r"GLOBAL ([\w.]+)", str(error)
        ):  # torch's own message would advise the user to allow it
            raise _code(path, called[1]) from error
        raise BadFile(path, "damaged", f"is damaged ({one_line(error)[:160]})") from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in a safetensors file, from its header. Raises `BadFile`."""
    header = _check_safetensors(path, head(path))
    return {name: tuple(facts["shape"]) for name, facts in header.items() if name != "__metadata__"}


# safetensors


def _check_safetensors(path: Path, first: bytes) -> dict[str, Any]:
    size = path.stat().st_size
    length = int.from_bytes(first[:8], "little")
    if size < 8 or not 2 <= length <= HEADER or first[8:9] not in (b"{", b""):
        raise _other(path, first, "safetensors")
    if size < 8 + length:
        raise BadFile(
            path, "damaged", f"is cut off: its header needs {8 + length:,} bytes, and it has {size:,}"
        )
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(length))
        ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
        shapes = [facts["shape"] for name, facts in header.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(path, "damaged", "is damaged: its header is not that of safetensors") from error
    if not all(isinstance(shape, list) for shape in shapes):
        raise BadFile(path, "damaged", "is damaged: its header is not that of safetensors")
    if size != whole:
        what = "cut off" if size < whole else "damaged"
        raise BadFile(path, "damaged", f"is {what}: it has {size:,} bytes, but its header says {whole:,}")
    return dict(header)


def _other(path: Path, first: bytes, wanted: str) -> BadFile:
    """The error for a file that is in neither format, or in the other one."""
    if first.startswith((b"PK\x03\x04", b"\x80\x02")):
        return BadFile(
            path,
            "foreign",
            "is a file of torch.save under a name of safetensors",
            "rename it to pytorch_model.bin, and remove its old name from the folder's index if there is one",
        )
    look = _loose(first)
    if look is not None:
        return BadFile(path, "foreign", look.what, look.hint)
    what = "is not a safetensors file" if wanted == "safetensors" else "is not a file of torch.save"
    return BadFile(path, "damaged", f"{what}: it is damaged or of another kind")


_JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*([]\[{"0-9-]|true|false|null))')
"""How JSON begins that is an object or a list; a file of settings may begin with `[section]`."""


def _loose(first: bytes) -> Look | None:
    """What a file may be if it is not the expected kind."""
    if _JSON.match(first) and is_text(first):
        return Look("is JSON, not weights", "is it a server's answer? read it, and download the file again")
    if first.startswith(b"version https") and is_text(first):
        return LFS
    return Look(SAID.what, SAID.hint) if is_text(first) else None


# torch.save


def _check_torch(path: Path, first: bytes) -> None:
    if first[8:9] == b"{" and 2 <= int.from_bytes(first[:8], "little") <= HEADER:
        what = "is a safetensors file under another name"
        raise BadFile(path, "foreign", what, "rename it so that it ends with .safetensors")
    if first.startswith(b"PK\x03\x04"):
        _check_zip(path)
    elif first.startswith(b"\x80"):
        _check_legacy(path)
    elif first[257:262] == b"ustar":
        raise BadFile(path, "foreign", "is a tar archive", "unpack it and name what is in it")
    else:
        raise _other(path, first, "torch")


def _check_zip(path: Path) -> None:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if len(infos) != len(archive.infolist()):
                raise BadFile(path, "damaged", "lists a record twice")
            _check_room(path, sum(info.file_size for info in infos.values()), size)
            pickles = [name for name in infos if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1 or any("/code/" in name for name in infos):
                raise _other_archive(path, set(infos))
            with archive.open(pickles[0]) as file:
                content = _scan(path, file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RuntimeError) as error:
        what = "is cut off: the list of contents at its end is missing"
        cut = isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error)
        raise BadFile(path, "damaged", what if cut else f"is damaged ({one_line(error)[:120]})") from error
    folder = pickles[0].removesuffix("data.pkl")
    for storage in content.storages.values():
        record = infos.get(f"{folder}data/{storage.key}")
        if record is None or record.file_size < storage.nbytes:
            raise BadFile(path, "damaged", "is damaged: tensors in it are missing or cut off")
    _check_room(path, content.unfolded, size)


def _other_archive(path: Path, names: set[str]) -> BadFile:
    endings = Counter(name.rpartition(".")[2] for name in names)
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        hint = "load it with torch.jit.load, and save its state_dict() with torch.save"
        return BadFile(path, "foreign", "is a TorchScript archive, which holds code", hint)
    if endings["npy"]:
        return BadFile(
            path, "foreign", "is an archive of NumPy arrays (.npz)", "take PyTorch's or safetensors' weights"
        )
    return BadFile(path, "foreign", "is a zip archive, not weights", "unpack it and name what is in it")


def _check_legacy(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = _scan(path, file).value
        if not isinstance(magic, int) or magic != MAGIC_NUMBER:
            what = "is a pickle, but not one of torch.save"
            raise BadFile(
                path, "foreign", what, "mmkit reads only torch's pickles; save the tensors as safetensors"
            )
        protocol = _scan(path, file).value
        if not isinstance(protocol, int) or protocol != PROTOCOL:
            raise BadFile(path, "damaged", "names a version of torch.save that does not exist")
        _scan(path, file)
        content = _scan(path, file)
        keys = _scan(path, file).value
        rest = size - file.tell()
    known = content.storages
    if not isinstance(keys, list) or {str(k) for k in keys if isinstance(k, str | int)} != set(known):
        raise BadFile(path, "damaged", "is damaged: the list of its tensors is incomplete")
    wanted = sum(8 + storage.nbytes for storage in known.values())
    if rest < wanted:
        raise BadFile(path, "damaged", f"is cut off: {wanted - rest:,} bytes of its tensors are missing")
    _check_room(path, content.unfolded, size)


def _scan(path: Path, file: IO[bytes]) -> Content:
    try:
        return scan(file)
    except Unsafe as error:
        raise _code(path, error.name) from error
    except Malformed as error:
        raise BadFile(path, "damaged", f"is not a checkpoint, or it is damaged ({error})") from error


def _code(path: Path, name: str) -> BadFile:
    return BadFile(
        path, "code", f"would run code when it is read ({name[:80]}), which mmkit never does", CODE
    )


def _check_room(path: Path, unpacked: int, size: int) -> None:
    if unpacked > max(ROOM, GROWTH * size):
        what = f"has {size:,} bytes and would unpack to {unpacked:,}; real weights never do"
        raise BadFile(path, "bomb", what, "do not use it, and find out where it comes from")
