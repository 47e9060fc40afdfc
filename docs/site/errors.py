"""Writes docs/errors.md, the list of error codes, from the places in the source that raise them.

python docs/site/errors.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/errors.md"

CLASSES = {
    "MMKitError": ("error", "anything else"),
    "RecipeError": ("recipe", "a recipe that cannot be used"),
    "PartError": ("part", "a part that is missing, broken or set wrongly"),
    "DataError": ("data", "a file, a record or an input"),
    "ImageError": ("image", "an image"),
    "RunError": ("run", "a run folder"),
    "TrainingError": ("training", "training that cannot go on"),
    "Interrupted": ("interrupted", "somebody asked to stop; everything is saved"),
    "TrainingStopped": ("training.stopped", "a hook asked to stop; everything is saved"),
}
"""Class → the code of an error that has none of its own, and what the class is about."""

AREAS = {
    "annotator": "annotators and the store of their results",
    "cache": "what lies under `$MMKIT_CACHE`",
    "conll": "files of CoNLL columns",
    "crops": "tables of object crops",
    "data": "examples, and the splits of a recipe",
    "device": "the device that was asked for",
    "encoder": "pretrained networks, and what an encoder reads",
    "expert": "a trained run as a part of another model",
    "features": "features that an encoder gave",
    "file": "files of any kind",
    "image": "images",
    "import": "checkpoints of a paper's authors",
    "input": "what is to be predicted for",
    "jmere": "JMERE",
    "init": "`mmkit init`",
    "json": "JSON, and the fields of records",
    "jsonl": "mmkit's own jsonlines",
    "knowledge": "knowledge bases",
    "melbench": "WikiMEL and Richpedia",
    "metric": "metrics",
    "mnre": "MNRE",
    "network": "what may be contacted, and with which keys",
    "offsets": "annotations that count characters",
    "part": "registered parts and their settings",
    "plugin": "plugins, their hooks, and packages to start from",
    "predict": "the prediction of many files",
    "predictions": "predictions and the examples they are scored against",
    "recipe": "recipes",
    "run": "run folders",
    "sample": "sample data",
    "task": "what a decoder needs of its examples",
    "training": "training",
    "wikidiverse": "WikiDiverse",
    "wikiperson": "WikiPerson",
    "chat": "chat models: the package mmkit-chat",
    "dim": "the plugin mmkit-dim",
    "dwe": "the plugin mmkit-dwe",
    "formats": "the plugin mmkit-formats",
    "gmner": "the plugin mmkit-gmner",
    "hub": "the plugin mmkit-hub",
    "hvpnet": "the plugin mmkit-hvpnet",
    "mimic": "the plugin mmkit-mimic",
    "more": "the plugin mmkit-more",
    "pgim": "the plugin mmkit-pgim",
    "ray": "the plugin mmkit-ray",
    "report": "the plugin mmkit-report",
    "retrieval": "the plugin mmkit-retrieval",
    "search": "the plugin mmkit-search",
    "serve": "the plugin mmkit-serve",
    "tesga": "the plugin mmkit-tesga",
    "trackers": "the plugin mmkit-trackers",
    "vlm": "the plugin mmkit-vlm",
}
"""The first half of a code → what its errors are about, in the order of the page."""

INTRODUCTION = """\
# Error codes

<!-- made by docs/site/errors.py: do not edit -->

Every error that a user can fix is an `mmkit.errors.MMKitError`. Its `code` says which one it is. The command line shows
it after the message, in Python it is `error.code`:

    error: train.txt:6: `I-PER` without a `B-PER` before it
      [conll.orphan-tag]

Codes stay the same; wordings may change. So test for a code, and search for it here. An error without a code of its own
has its class's:
"""


MESSAGES = {"load_class": 2}
"""What raises more than one error with its `code` → how many of its first arguments are messages."""


class Site(NamedTuple):
    """A place in the source that makes an error with a code."""

    code: str
    error: str
    messages: tuple[str, ...]
    """Templates: `…` stands for what is filled in."""
    place: str


def sources() -> list[Path]:
    """The modules of mmkit and of its plugins."""
    return sorted([*ROOT.glob("mmkit/**/*.py"), *ROOT.glob("plugins/*/mmkit_*/**/*.py")])


def sites() -> list[Site]:
    """Every call with a `code` (one of several, where the function chooses), in the order of files and lines."""
    return [site for path in sources() for site in _sites(path)]


def _sites(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    within: dict[ast.AST, ast.AST] = {}  # a call → the innermost function around it
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            within |= dict.fromkeys(ast.walk(function), function)  # inner functions come later
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        scope = within.get(call, tree)
        codes = [c for k in call.keywords if k.arg == "code" for c in _templates(k.value, scope) if c != "…"]
        for code in codes:
            told = call.args[: MESSAGES.get(name, 1)]
            messages = tuple(dict.fromkeys(t for each in told for t in _templates(each, scope)))
            yield Site(code, name, messages, f"{path.relative_to(ROOT).as_posix()}:{call.lineno}")


def _templates(message: ast.expr, scope: ast.AST | None) -> list[str]:
    """What a message may read, as far as the source says; names are looked up in `scope`, once."""
    match message:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(v.value if isinstance(v, ast.Constant) else "…" for v in values)]  # type: ignore[misc]
        case ast.IfExp(body=one, orelse=other):
            return _templates(one, scope) + _templates(other, scope)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a in _templates(left, scope) for b in _templates(right, scope)]
        case ast.Name(id=name) if scope is not None:
            found = [
                template
                for node in ast.walk(scope)
                if isinstance(node, ast.Assign)
                for target, value in _pairs(node)
                if isinstance(target, ast.Name) and target.id == name
                for template in _templates(value, None)
            ]
            return [template for template in found if template != "…"] or ["…"]
    return ["…"]


def _pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return list(zip(target.elts, node.value.elts, strict=True))
    return [(target, node.value)]


def page() -> str:
    """docs/errors.md."""
    codes: dict[str, list[Site]] = {}
    for site in sites():
        codes.setdefault(site.code, []).append(site)
    lines = [INTRODUCTION, "| Class | Code | About |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{code}` | {about} |" for name, (code, about) in CLASSES.items()]
    for area, about in AREAS.items():
        own = sorted(code for code in codes if code.partition(".")[0] == area)
        if own:
            lines += ["", f"## {area}", "", f"About {about}.", "", "| Code | Message |", "| --- | --- |"]
            lines += [f"| `{code}` | {_messages(codes[code])} |" for code in own]
    return "\n".join(lines) + "\n"


def _messages(found: list[Site]) -> str:
    told = sorted({message for site in found for message in site.messages if re.search(r"\w", message)})
    return "<br>".join(_cell(message) for message in told) or "(made of what went wrong)"


def _cell(message: str) -> str:
    first = message.split("\n", maxsplit=1)[0].replace("|", "\\|")
    return first.replace("<", "&lt;").replace("[", "\\[")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
