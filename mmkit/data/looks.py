"""What a file looks like: in words, by its kind, and the command that converts it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

HEADER = '{"format": 2, "kind": "examples"}'

OPEN = 'open(sys.argv[1], encoding="utf-8")'
"""Python for the file in a `program`."""

ONE_VALUE = frozenset({"jmere-lines", "wikidiverse-lines", "wikiperson-lines", "lines-of-maps"})
"""Kinds of JSON lines that become one JSON value."""

_CANONICAL = {
    "jsonl-examples": "mmkit.jsonl.v1 reads it",
    "jsonl-entities": "mmkit.kb_jsonl.v1 reads it",
    "jsonl-predictions": "`mmkit score` scores predictions",
}


@dataclass(frozen=True)
class Looks:
    """What a file looks like: in words, by the kind that readers know it by, and the command that converts it.

    In `command`, `{path}` and `{made}` stand for the file and for the one that is made; empty if there is none.
    """

    what: str
    kind: str = ""
    command: str = ""

    @property
    def reader(self) -> str:
        """The reader that reads the file as it is, with the options it needs; empty if it must be converted."""
        return self.command.partition("{made} --reader ")[2]

    def advice(self, path: Path) -> str:
        """What to do with the file; empty if nothing can be said."""
        if not self.command:
            return _CANONICAL.get(self.kind, "")
        made = path.with_suffix(".jsonl" if path.suffix != ".jsonl" else ".new.jsonl")
        if self.kind == "tagged":
            made = path.with_suffix(".conll")
        if self.kind in ONE_VALUE:
            made = path.with_suffix(".one.json")
        names = {"{path}": shlex.quote(str(path)), "{made}": shlex.quote(str(made))}
        command = re.sub(r"\{path\}|\{made\}", lambda m: names[m[0]], self.command)
        return f"convert it: {command}{_reading(self.command, self.kind)}"


def _reading(command: str, kind: str) -> str:
    """Which reader reads what a command makes."""
    if kind == "tagged":
        return (
            f"  (and read that with {'mmkit.conll_images.v1' if 'IMGID' in command else 'formats.conll.v1'})"
        )
    if kind in ONE_VALUE or kind == "headed":
        return ""
    of_entities = "entities" in command or "--reader mmkit.kb_" in command
    return f"  (and read that with {'mmkit.kb_jsonl.v1' if of_entities else 'mmkit.jsonl.v1'})"


def program(records: str, header: str = HEADER) -> str:
    """A command that prints a header and records as jsonlines; `records` is Python."""
    return f"python -c 'import csv, json, sys; print({header!r}, {records}, sep=\"\\n\")' {{path}} > {{made}}".replace(
        repr(header), '"' + header.replace('"', '\\"') + '"'
    )


def reads(reader: str) -> str:
    """A command that converts the file, which `reader` reads."""
    return f"mmkit convert {{path}} {{made}} --reader {reader}"
