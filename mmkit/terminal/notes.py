"""Messages for the user, kept short: the first few of a kind in full, the others counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHOWN = 5
"""How many messages of one kind are shown in full."""

NAMED = 3
"""How many examples or files one message names."""


def capped(messages: Iterable[str], shown: int = SHOWN) -> list[str]:
    """The first messages of one kind, and how many more there are."""
    messages = list(messages)
    more = len(messages) - shown
    return messages if more <= 0 else [*messages[:shown], f"and {more:,} more of this kind"]


def few(names: Sequence[str], shown: int = NAMED) -> str:
    """The first few names for a message, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
