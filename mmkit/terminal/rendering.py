"""Print tables and styles on a terminal: rich's console, but data cannot control the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mmkit.errors import printable


class Terminal(Console):
    """rich's console: only its own styles, bars and cursor movements control the terminal.

    Texts with markup still have to be escaped (`rich.markup.escape`), or printed with `markup=False`.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of something to print; segments of text have no control characters."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)
