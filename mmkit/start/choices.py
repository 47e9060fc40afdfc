"""What `mmkit init` decides: asked on a terminal, and otherwise decided by a default or refused; all of it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmkit.errors import DataError


class Ask(Protocol):
    """Asks the user to choose one of some options; returns its number."""

    def __call__(self, question: str, options: Sequence[str], default: int | None) -> int: ...


@dataclass
class Choices:
    """Decisions and notes, in order. `ask` is None where nobody can be asked."""

    ask: Ask | None = None
    said: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Note what was found or decided; it is printed and becomes a comment of the recipe."""
        self.said.append(what)

    def choose(self, question: str, options: Sequence[str], *, default: int, why: str) -> int:
        """One of some options: the answer on a terminal, else the default, whose reason is noted."""
        if self.ask is not None and len(options) > 1:
            return self.ask(question, options, default)
        if why:
            self.say(why)
        return default

    def only(self, question: str, options: Sequence[str], *, where: object, hint: str) -> int:
        """One of some options for which there is no default: without a terminal it is an error."""
        if self.ask is not None:
            return self.ask(question, options, None)
        listed = "".join(f"\n  - {option}" for option in options)
        raise DataError(f"{question}{listed}", where=where, hint=hint, code="init.several")
