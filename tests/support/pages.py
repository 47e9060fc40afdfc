"""Pages of the documentation: their blocks, as a reader pastes them.

A block that a reader of the page cannot run as it stands has a mark: an HTML comment in front of it, which the page
does not show. `MARKS` lists the marks.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.registry import registry_of

ROOT = Path(__file__).resolve().parents[2]
MARKS = {
    "saved as FILE": "the block is the content of this file, as the text says",
    "part of RECIPE": "the block's sections belong into this recipe, which is valid with them",
    "needs WHAT": "one of `NEEDS`, then a colon and what exactly; the block is checked as far as it can be without",
}
NEEDS = {
    "data": "a published dataset, or the reader's own",
    "hub": "a download of the Hugging Face Hub",
    "files": "files of a paper's authors",
    "install": "installs packages",
    "program": "a program that is not mmkit",
    "server": "a server",
    "time": "takes minutes or hours",
}
_BLOCK = re.compile(
    r"(?:^<!-- block: (?P<mark>[^\n]+) -->\n+)?^```(?P<language>\w*)(?:[ ]title=\"(?P<title>[^\"\n]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FENCE = re.compile(r"^ *```", re.MULTILINE)
_COMMENT = re.compile(r"<!-- block:")
_COMMANDS = "mmkit|python|pip|make|export|git|bash|cp|docker|prodigy"
_INDENTED = re.compile(
    rf"(?<=\n\n)    ((?:(?:{_COMMANDS}|from \S+ import|\.) |import \w+$|@\w+ =|\[[\w.]+\]).*)", re.MULTILINE
)
"""The first line of code that is indented instead of fenced."""
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, the file that its title names, its mark and its text."""

    place: str
    language: str
    title: str | None
    mark: str | None
    text: str

    @property
    def need(self) -> str | None:
        """The word of `NEEDS` that its mark gives. Raises `ValueError` for a mark that is not in `MARKS`."""
        if self.mark is None or self.argument("saved as") or self.argument("part of"):
            return None
        match = re.fullmatch(r"needs (\w+): \S.*", self.mark)
        if match is None or match[1] not in NEEDS:
            raise ValueError(f"{self.place}: unknown mark {self.mark!r}")
        return match[1]

    def argument(self, mark: str) -> str | None:
        """What stands behind `mark`, if this is the block's mark."""
        before, _, after = (self.mark or "").partition(f"{mark} ")
        return after if after and not before else None


def blocks_of(page: Path) -> list[Block]:
    """A page's blocks in order. Raises `ValueError` for a fence or a mark that cannot be read, and code without one."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    found = list(_BLOCK.finditer(text))
    if 2 * len(found) != len(_FENCE.findall(text)):
        raise ValueError(f"{name}: a fence is indented or not closed")
    if sum(match["mark"] is not None for match in found) != len(_COMMENT.findall(text)):
        raise ValueError(f"{name}: a mark is not followed by a block")
    if line := _INDENTED.search(_BLOCK.sub("", text)):
        raise ValueError(f"{name}: {line[1]!r} is code outside of a fenced block, so it is not tried")
    return [
        Block(
            f"{name}:{text.count(chr(10), 0, match.start('text')) + 1}",
            match["language"],
            match["title"],
            match["mark"],
            match["text"],
        )
        for match in found
    ]


class Reader:
    """Somebody who pastes blocks in a folder: shell commands, and Python into one notebook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebook: dict[str, Any] = {"__name__": "__main__"}

    def paste(self, block: Block) -> str:
        """Run a block of `bash` or `python`. Returns what it prints; raises `AssertionError` if it fails."""
        with contextlib.chdir(self.folder):
            if block.language == "python":
                return self._python(block)
            return "".join(self._shell(block, part) for part in _parts(block.text))

    def _python(self, block: Block) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.text, block.place, "exec"), self.notebook)
        return printed.getvalue()

    def _shell(self, block: Block, part: str | list[str]) -> str:
        if isinstance(part, list):
            done = CliRunner().invoke(main, part[1:])
            assert done.exit_code == 0, (
                f"{block.place}: {shlex.join(part)}\n{done.output}\n{done.exception!r}"
            )
            return done.stdout
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", part],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert run.returncode == 0, f"{block.place}: {part}\n{run.stdout}\n{run.stderr}"
        return run.stdout


def commands_of(script: str) -> Iterator[list[str]]:
    """The words of each command of a script, without comments. Raises `ValueError` for a quotation mark left open."""
    for line in script.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def check_options(words: list[str]) -> click.Context:
    """Parse a command of `mmkit` without running it. Raises `click.UsageError` for what it does not take."""
    command: click.Command = main
    context = click.Context(main, info_name=words[0])
    rest = words[1:]
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, group = found, isinstance(found, click.Group)
        context = click.Context(found, context, name) if group else found.make_context(name, rest, context)
    part = {"convert": ("readers", "reader_name"), "score": ("metrics", "name")}.get(command.name or "")
    known = set()
    if part and (named := context.params[part[1]]):
        registry = registry_of(part[0])
        known = set(inspect.signature(registry.get(registry.full_name(named))).parameters)
    for word in context.args:  # overrides, or the part's settings
        option = word.removeprefix("--").partition("=")[0]
        if option != word and "." not in option and option not in known:
            raise click.NoSuchOption(f"--{option}", ctx=context)
    return context


def json_values(text: str) -> list[Any]:
    """The values of a block of JSON: one, or one on each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


def _parts(script: str) -> list[str | list[str]]:
    """A script cut into calls of `mmkit`, which need no process of their own, and pieces for the shell."""
    lines = script.replace("\\\n", " ").splitlines(keepends=True)
    parts: list[str | list[str]] = []
    until = ""
    for line in lines:
        document = _HERE_DOCUMENT.search(line)
        plain = not until and not document and line.startswith("mmkit ") and not set(line) & set("$`*~|<>&;")
        if plain:
            parts.append(shlex.split(line, comments=True))
            continue
        if until:
            until = "" if line.strip() == until else until
        elif document:
            until = document[1]
        if parts and isinstance(parts[-1], str):
            parts[-1] += line
        else:
            parts.append(line)
    if any(isinstance(part, str) and re.search(r"^(export )?\w+=", part) for part in parts):
        return [script]  # later lines read its variables
    return [part for part in parts if isinstance(part, list) or part.strip()]
