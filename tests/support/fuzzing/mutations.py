"""How files are damaged: bytes, lines, JSON, and the file itself. Everything follows from the random numbers given."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

BYTES: tuple[bytes, ...] = (
    b"", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\n\n", b"\t", b"  ",
    b'"', b"'", b"{", b"}", b"[", b"]", b"${", b"${a}", b"#", b"@", b"=", b":", b",", b"<", b">", b"&", b"%s", b"../",
    b"/etc/passwd", b"/dev/zero", b"\x1b]0;x\x07", b"-1", b"0", b"1e999", b"-0.0", b"9" * 30, b"9" * 5000, b"NaN",
    b"null", b"true", b"\\ud800", b"\\u0000", b"\\", b"B-PER", b"I-LOC", b"O", b"IMGID:", b"[SEP]", b"a" * 5000,
    b"[" * 3000, b"{\"a\":" * 3000, b"{\"a\":" * 70 + b"1" + b"}" * 70, b"[" * 40 + b"]" * 40, b"\xe2\x80\xae",
)  # fmt: skip
"""What is put into files: what formats have as marks, and what is at the borders of what they allow."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, "", " ", "\0", "a", "O", "PER", "-1", "../x",
    "/dev/zero", "\ud800", "\u202e", "x" * 3000, [], [[]], [None], [0, 1], [1, 0], [-1, 2], [0, 10**9], [0.5, 1.5],
    {}, {"a": 1}, [{}], ["a", "a"], [[0, 1], [0, 1]], float("inf"), float("nan"),
)  # fmt: skip

LARGEST = 3_000_000
"""Bytes of a file that is damaged by being repeated."""


def mutated(content: bytes, rng: Random) -> bytes:
    """The content with one to four things changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(CHANGES)(content, rng)
    return content


def _replace(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((0, 0, 1, 1, 4, 16)))
    return content[:at] + rng.choice(BYTES) + content[end:]


def _flip(content: bytes, rng: Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        # The beginning of a binary file says what the rest is.
        most = len(changed) if rng.random() < 0.5 else min(len(changed), 256)
        changed[rng.randrange(most)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _number(content: bytes, rng: Random) -> bytes:
    """Another number in place of one in the text, or of four bytes."""
    numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?", content[:200_000]))
    if numbers and rng.random() < 0.7:
        found = rng.choice(numbers)
        new = rng.choice((b"-1", b"0", b"1", b"2147483648", b"99999999999", b"1e400", b"0.5", b"3", b"[]"))
        return content[: found.start()] + new + content[found.end() :]
    at = rng.randrange(len(content) + 1)
    size = rng.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20))
    return content[:at] + size.to_bytes(4, rng.choice(("little", "big"))) + content[at + 4 :]


def _cut(content: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return rng.choice((content[:start], content[start:], content[:start] + content[end:]))


def _double(content: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice((1, 10, 100, 10_000)))
    part = content[start:end]
    times = rng.choice((1, 1, 3, 100))
    return content[:start] + part * min(times, 1 + LARGEST // max(1, len(part))) + content[start:]


def _lines(content: bytes, rng: Random) -> bytes:
    """Lines moved, doubled, taken away or joined."""
    lines = content.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            del lines[at]
        case _:
            lines[at : at + 2] = [b"".join(lines[at : at + 2])]
    return b"\n".join(lines)


def _json(content: bytes, rng: Random) -> bytes:
    """One value within the file's JSON, or within that of one of its lines, replaced, doubled or taken away."""
    lines = content.split(b"\n") if content.count(b"\n{") else [content]
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _replace(content, rng)
    lines[at] = json.dumps(_with_change(value, rng)).encode()
    return b"\n".join(lines)


def _with_change(value: Any, rng: Random) -> Any:
    places = [((), None)] if not isinstance(value, dict | list) else list(_places(value))[:5000]
    if not places or places == [((), None)]:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 0:
            holder.pop(key)
        case 1 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 2:
            other, its_key = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[its_key]))
        case 3 if isinstance(holder, dict):
            holder[rng.choice(("", "id", "text", "x" * 100, "\x1b[0m", str(key) + " "))] = holder[key]
        case _:
            holder[key] = rng.choice(VALUES)
    return value


def _keys(holder: Any) -> Sequence[Any]:
    return list(holder) if isinstance(holder, dict) else range(len(holder))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(list or dictionary, key) of all values within one."""
    for key in _keys(value):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _replace, _replace, _flip, _number, _cut, _double, _lines, _json, _json, _json,
)  # fmt: skip


# Files


@contextmanager
def damaged(folder: Path, files: Sequence[Path], rng: Random) -> Iterator[list[str]]:
    """One or two of the files damaged for the time of the block, which is told how. Afterwards all is as it was."""
    chosen = list(dict.fromkeys(rng.sample(list(files), min(len(files), rng.choice((1, 1, 1, 2))))))
    before = {path: path.read_bytes() for path in chosen}
    told = []
    try:
        for path in chosen:
            told.append(f"{path.relative_to(folder)}: {_damage(path, before, files, rng)}")
        yield told
    finally:
        for path, content in before.items():
            _remove(path)
            path.write_bytes(content)


def _damage(path: Path, before: Mapping[Path, bytes], files: Sequence[Path], rng: Random) -> str:
    """Damage a file, and say how; `before` has what the damaged files held."""
    content = before[path]
    if rng.random() < 0.9:
        path.write_bytes(mutated(content, rng))
        return "bytes"
    kind = rng.choice(("missing", "folder", "pipe", "device", "loop", "empty", "other", "utf16", "repeated"))
    if kind in ("missing", "folder", "pipe", "device", "loop"):
        path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "empty":
            path.write_bytes(b"")
        case "other":
            other = rng.choice(list(files))  # it may be damaged itself: a pipe cannot be read
            whole = before[other] if other in before else other.read_bytes()
            path.write_bytes(whole if rng.random() < 0.5 else b"")
        case "utf16":
            path.write_bytes(content.decode("latin-1").encode("utf-16"))
        case "repeated":
            path.write_bytes(content * max(1, min(1000, LARGEST // max(1, len(content)))))
    return kind


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
