"""A recipe's references, `${section.key}`: resolved in parsed values, so a quotation mark in a value does no harm.

References that multiply (`a = "${b}${b}"`, `b = "${c}${c}"`, ...) are refused before they take time and memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from mmkit.config.values import UNRESOLVED, Problems
from mmkit.errors import did_you_mean, near_misses

Tree = dict[str, Any]

REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[^{}]*)\}")

MOST_VALUES = 200_000
"""The most values in a resolved recipe, including those that references repeat."""
MOST_CHARACTERS = 10_000_000
"""The most characters in its texts."""
MOST_STEPS = 64
"""The deepest chain of references and of nested sections, lists and objects, together."""
_HINTS = 5
"""For so many wrong references, similar names are looked for: that takes time."""


def resolve(tree: Tree, problems: Problems) -> Tree:
    """A copy of the tree with every `${section.key}` replaced. One that cannot be becomes `UNRESOLVED`.

    A value that is nothing but a reference takes the type of what it refers to, which may be a section;
    within a text it must be a text or a number. `$$` writes a `$`.
    """
    resolved: Tree = _Resolver(tree, problems).value(tree, "", (), 0)
    return resolved


def node_of(tree: Tree, dotted: str) -> Any:
    """The value or section of a dotted name. Raises `KeyError`."""
    node: Any = tree
    for part in dotted.split("."):
        if not isinstance(node, dict):
            raise KeyError(dotted)
        node = node[part]
    return node


def origin(tree: Tree, dotted: str) -> str:
    """Where a setting or a section is written: another name if it, or a section around it, is a reference.

    It is `dotted` itself if a reference leads nowhere. References that go round are followed for a while only.
    """
    node: Any
    node, at, left, needed = tree, "", dotted.split("."), 0
    for _ in range(MOST_STEPS):
        if not left:
            break
        name = left.pop(0)
        at = f"{at}.{name}" if at else name
        node = node.get(name) if isinstance(node, dict) else None
        if node is None and needed > 0:
            return dotted
        needed -= 1
        whole = REFERENCE.fullmatch(node) if isinstance(node, str) else None
        if whole and whole["name"] is not None:
            target = _dotted(whole["name"], at, tree).split(".")
            node, at, left, needed = tree, "", [*target, *left], len(target) + max(needed, 0)
    return at


def _dotted(name: str, at: str, tree: Tree) -> str:
    """The whole name of what a reference at `at` refers to: a name without a dot may be a neighbour."""
    dotted = name.strip().replace(":", ".")
    return dotted if "." in dotted or dotted in tree else f"{at.rpartition('.')[0]}.{dotted}"


class _Resolver:
    def __init__(self, tree: Tree, problems: Problems) -> None:
        self.tree, self.problems = tree, problems
        self.values = self.characters = self.hints = 0
        self.full = False

    def value(self, value: Any, at: str, through: tuple[str, ...], depth: int) -> Any:
        """`value`, which stands at `at`, so deep in the recipe, and was reached `through` these references."""
        self.values += 1
        if self.values > MOST_VALUES or depth > MOST_STEPS:
            return self.too_much(at)
        if isinstance(value, dict):
            return {
                key: self.value(v, f"{at}.{key}" if at else key, through, depth + 1)
                for key, v in value.items()
            }
        if isinstance(value, list):
            return [self.value(v, at, through, depth + 1) for v in value]
        return self.text(value, at, through, depth) if isinstance(value, str) else value

    def text(self, text: str, at: str, through: tuple[str, ...], depth: int) -> Any:
        whole = REFERENCE.fullmatch(text)
        if whole and whole["name"] is not None:
            return self.target(whole["name"], at, through, depth)
        pieces, end = [], 0
        for match in REFERENCE.finditer(text):
            piece = "$" if match["name"] is None else self.target(match["name"], at, through, depth)
            if isinstance(piece, dict | list):
                self.problems.add(at, f"{match.group()} is a section or list, and cannot stand within a text")
                piece = UNRESOLVED
            if piece is UNRESOLVED:
                return UNRESOLVED
            pieces += [text[end : match.start()], piece if isinstance(piece, str) else json.dumps(piece)]
            end = match.end()
        resolved = "".join([*pieces, text[end:]])
        self.characters += len(resolved)
        return self.too_much(at) if self.characters > MOST_CHARACTERS else resolved

    def target(self, name: str, at: str, through: tuple[str, ...], depth: int) -> Any:
        if self.full:
            return UNRESOLVED
        dotted = _dotted(name, at, self.tree)
        try:
            found = node_of(self.tree, dotted)
        except KeyError:
            self.problems.add(at, f"${{{name}}} refers to nothing", self.near(dotted))
            return UNRESOLVED
        if dotted in through:
            self.problems.add(at, f"${{{name}}} refers to itself through {', '.join(through)}")
            return UNRESOLVED
        return self.value(found, dotted, (*through, dotted), depth + 1)

    def near(self, dotted: str) -> str:
        """What the user may have meant by a name."""
        self.hints += 1
        near = near_misses(dotted, _leaves(self.tree)) if self.hints <= _HINTS else []
        return did_you_mean(dotted, near) if near else ""

    def too_much(self, at: str) -> Any:
        """What stands for a value that is not resolved, because references make too much of the recipe."""
        if not self.full:
            self.problems.add(at, "references make this recipe too large or too deep", "write it out")
        self.full = True
        return UNRESOLVED


def _leaves(tree: Tree, at: str = "") -> Iterable[str]:
    for key, value in tree.items():
        dotted = f"{at}.{key}" if at else key
        if isinstance(value, dict):
            yield from _leaves(value, dotted)
        else:
            yield dotted
