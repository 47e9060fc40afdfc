"""Damages a run folder in one of many ways: as disks, copies, editors, tools and people do.

`damage(folder, Random(seed))` changes one file and says how; equal seeds give equal damage. `kinds` lists every kind of
damage for a file, so that a test can try all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

Damage = Callable[[Path, Random], str]
"""Damages a file in place and says what was done to it beyond the kind's name."""

DEEP = 20_000
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 10**6, -(10**18), 10**30, 1.5, float("inf"), float("nan"), "", "text"),
    *(
        "\ud800",
        "\x1b[2J",
        "../../etc/passwd",
        "x" * 10_000,
        [],
        {},
        [1],
        ["text"],
        {"a": 1},
        [[[]]],
        [None] * 1000,
    ),
)
"""Values that stand where another one is expected."""

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
WHOLE: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "not UTF-8": b"\xff\xfe\x00" * 40,
    "UTF-16": "\ufeff{}\n[recipe]".encode("utf-16"),
    "zeros": bytes(1000),
    "a web page": b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n",
    "an LFS pointer": LFS,
    "null": b"null",
    "a number": b"7",
    "a text": b'"text"',
    "a list": b"[]",
    "an object": b"{}",
    "a long number": b"1" * 10_000,
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "a key twice": b'{"types": [], "types": {}}',
}
"""What a file may hold in place of its contents."""


def files(folder: Path) -> list[str]:
    """The files of a run folder, checkpoints among them."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def kinds(path: Path) -> dict[str, Damage]:
    """Every kind of damage for a file, by name."""
    found: dict[str, Damage] = {name: _instead(content) for name, content in WHOLE.items()}
    found |= {
        "missing": _missing,
        "a folder": _folder,
        "a link to nothing": _link_to_nothing,
        "a link to itself": _link_to_itself,
        "cut": _cut,
        "bytes": _bytes,
        "longer": _longer,
    }
    if hasattr(os, "mkfifo"):
        found["a pipe"] = _pipe
    if path.suffix == ".json":
        found |= {"a value": _json_value, "a key lost": _json_key, "a value deep": _json_deep}
    if path.suffix == ".cfg":
        found |= {"a line lost": _line_lost, "a line twice": _line_twice, "a setting": _setting}
        found |= {"a deep section": _deep_section, "a deep setting": _deep_setting}
    if path.suffix == ".safetensors":
        found |= {"a tensor's header": _header_value, "metadata": _metadata, "header": _header}
    return found


def damage(folder: Path, rng: Random) -> str:
    """Damage a file of a run folder; says which and how."""
    name = rng.choice(files(folder))
    kind, change = rng.choice(sorted(kinds(folder / name).items()))
    return f"{name}: {kind} {change(folder / name, rng)}".strip()


def _instead(content: bytes) -> Damage:
    def write(path: Path, rng: Random) -> str:
        path.write_bytes(content)
        return ""

    return write


def _missing(path: Path, rng: Random) -> str:
    path.unlink()
    return ""


def _folder(path: Path, rng: Random) -> str:
    path.unlink()
    path.mkdir()
    return ""


def _link_to_nothing(path: Path, rng: Random) -> str:
    path.unlink()
    path.symlink_to("nothing")
    return ""


def _link_to_itself(path: Path, rng: Random) -> str:
    path.unlink()
    path.symlink_to(path.name)
    return ""


def _pipe(path: Path, rng: Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return ""


def _cut(path: Path, rng: Random) -> str:
    size = rng.randrange(max(1, path.stat().st_size))
    with path.open("rb+") as file:
        file.truncate(size)
    return f"to {size} bytes"


def _longer(path: Path, rng: Random) -> str:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.choice((1, 7, 1000))))
    return ""


def _bytes(path: Path, rng: Random) -> str:
    data = bytearray(path.read_bytes())
    places = [rng.randrange(len(data)) for _ in range(rng.choice((1, 1, 3, 20)))] if data else []
    for at in places:
        data[at] ^= rng.randrange(1, 256)
    path.write_bytes(data)
    return f"at {places}"


# -- JSON ----------------------------------------------------------------------------------------------------


def _json_value(path: Path, rng: Random) -> str:
    def change(owner: Any, key: Any) -> str:
        owner[key] = rng.choice(ODD)
        return repr(owner[key])[:60]

    return _in_json(path, rng, change)


def _json_key(path: Path, rng: Random) -> str:
    def change(owner: Any, key: Any) -> str:
        del owner[key]
        return "lost"

    return _in_json(path, rng, change)


def _json_deep(path: Path, rng: Random) -> str:
    def change(owner: Any, key: Any) -> str:
        owner[key] = "@deep@"
        return "deep"

    said = _in_json(path, rng, change)
    path.write_text(
        path.read_text(encoding="utf-8").replace('"@deep@"', "[" * DEEP + "]" * DEEP), encoding="utf-8"
    )
    return said


def _in_json(path: Path, rng: Random, change: Callable[[Any, Any], str]) -> str:
    """Change something at a random place of a JSON file, near its top half of the time."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "(not JSON)"
    places = list(_places(content))
    if not places:
        return "(nothing in it)"
    top = [place for place in places if len(place[0]) == 1]
    at, owner, key = rng.choice(top if rng.random() < 0.5 else places)
    said = change(owner, key)
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{'.'.join(map(str, at))} {said}"


def _places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """The path, owner and key of everything within lists and objects."""
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in list(pairs):
        yield (*at, key), content, key
        yield from _places(value, (*at, key))


# -- recipes -------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def _line_lost(path: Path, rng: Random) -> str:
    lines = _lines(path)
    lost = lines.pop(rng.randrange(len(lines)))
    path.write_text("\n".join(lines), encoding="utf-8")
    return repr(lost)


def _line_twice(path: Path, rng: Random) -> str:
    lines = _lines(path)
    at = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines)), lines[at])
    path.write_text("\n".join(lines), encoding="utf-8")
    return repr(lines[at])


def _setting(path: Path, rng: Random) -> str:
    return _set(path, rng, json.dumps(rng.choice(ODD)))


def _deep_setting(path: Path, rng: Random) -> str:
    return _set(path, rng, "[" * DEEP + "]" * DEEP)


def _set(path: Path, rng: Random, value: str) -> str:
    lines = _lines(path)
    settings = [i for i, line in enumerate(lines) if " = " in line]
    if not settings:
        return "(no settings)"
    at = rng.choice(settings)
    lines[at] = f"{lines[at].partition(' = ')[0]} = {value}"
    path.write_text("\n".join(lines), encoding="utf-8")
    return lines[at][:80]


def _deep_section(path: Path, rng: Random) -> str:
    path.write_text(
        f"{path.read_text(encoding='utf-8', errors='replace')}\n[{'a.' * 5000}a]\nx = 1\n", encoding="utf-8"
    )
    return ""


# -- safetensors ---------------------------------------------------------------------------------------------


def _parsed(path: Path) -> tuple[Any, bytes]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _rewritten(path: Path, change: Callable[[Any], str]) -> str:
    try:
        header, data = _parsed(path)
    except ValueError:
        return "(not safetensors)"
    said = change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return said


def _header_value(path: Path, rng: Random) -> str:
    def change(header: Any) -> str:
        name = rng.choice(sorted(set(header) - {"__metadata__"}) or ["none"])
        if rng.random() < 0.2:
            header[f"{name}.other"] = header.pop(name, {})
            return f"{name} renamed"
        key, values = rng.choice(
            (("dtype", ["F16", "I32", "I64", "BOOL", "X", 3]), ("shape", [[], [1], [10**12], [-1], "x"]))
        )
        header.setdefault(name, {})[key] = rng.choice(values)
        return f"{name}.{key}"

    return _rewritten(path, change)


def _metadata(path: Path, rng: Random) -> str:
    def change(header: Any) -> str:
        key = rng.choice(("step", "same", "mmkit", "format"))
        values = ("", "x", "-1", "1e9", "9" * 5000, "{", "[1]", "null", '{"a": "b"}', "[" * DEEP)
        header.setdefault("__metadata__", {})[key] = rng.choice(values)
        return f"{key} = {header['__metadata__'][key][:20]}"

    return _rewritten(path, change)


def _header(path: Path, rng: Random) -> str:
    data = path.read_bytes()[8:]
    size = rng.choice((0, 1, len(data), 2**31, 2**63, 2**64 - 1))
    path.write_bytes(struct.pack("<Q", size) + data)
    return f"of {size} bytes"


def restored(whole: Path, copy: Path) -> Path:
    """A fresh copy of a run folder to damage."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    return copy
