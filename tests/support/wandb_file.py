"""Reads the file that Weights & Biases writes offline: a log in LevelDB's format, of protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEAD = 32768, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(file: Path) -> Iterator[bytes]:
    """The records of the log. The file begins with 7 bytes of its own, which count as part of the first block."""
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    at, begun = HEAD, b""
    while at + HEAD <= len(content):
        if BLOCK - at % BLOCK < HEAD:  # no head fits: padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        piece = content[at + HEAD : at + HEAD + length]
        at += HEAD + length
        begun = piece if kind in (WHOLE, FIRST) else begun + piece
        if kind in (WHOLE, LAST):
            yield begun


def records(folder: Path) -> list[Any]:
    """The records of all offline runs in a folder, in order.

    W&B's own process may still be writing when a run has finished, so it is ended first.
    """
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for payload in payloads(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            found.append(record)
    return found


def items(update: Any) -> dict[str, Any]:
    """What a history, summary or configuration record says, by key; what lies in a key is a dictionary."""
    found: dict[str, Any] = {}
    for item in update:
        *within, last = [item.key] if item.key else item.nested_key
        at = found
        for key in within:
            at = at.setdefault(key, {})
        at[last] = json.loads(item.value_json)
    return found
