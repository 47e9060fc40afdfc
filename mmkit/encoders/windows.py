"""Long texts in overlapping windows: where each begins and ends, and which one a subword's state is taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.abilities import Prefix

Ints = np.ndarray[Any, np.dtype[np.int64]]

WINDOW = "window."
"""The prefix of the names of a text encoder's inputs about windows."""


def cut_windows(words: Ints, room: int, overlap: int) -> Ints:
    """Begin and end of each window `[n, 2]` over the subwords of a text, whose `words [N]` say what word each is of.

    A window holds at most `room` subwords, and shares at least `overlap` (fewer than `room`) with the next one. Windows
    begin and end between words, except within a word that is too long. The last one is as long as the others, so that
    the words at the end have as much context as possible.
    """
    count = len(words)
    edges = np.flatnonzero(np.diff(words, prepend=-1))  # where a word begins
    windows: list[tuple[int, int]] = []
    start = 0
    while count - start > room:
        end = _edge(edges, start + room, above=start + overlap)
        windows.append((start, end))
        start = _edge(edges, end - overlap, above=start)
        if count - start <= room:
            later = edges[edges >= count - room]
            start = min(start, int(later[0])) if later.size else start
    return np.array([*windows, (start, count)], dtype=np.int64)


def _edge(edges: Ints, most: int, above: int) -> int:
    """The last edge of a word that is at most `most`; `most` itself where that is not `above` a place."""
    found = int(edges[np.searchsorted(edges, most, side="right") - 1])
    return found if found > above else most


def best_window(words: Ints, windows: Ints) -> Ints:
    """For each subword `[N]`, the window that its state is taken from: that with the most context around its word.

    All subwords of a word come from one window: the one in which the shorter of the word's two sides is longest. If no
    window contains the whole word, its subwords come from several.
    """
    at = np.arange(len(words))
    first = np.searchsorted(words, words, side="left")
    last = np.searchsorted(words, words, side="right")
    whole = _context(windows, first, last)
    parts = _context(windows, at, at + 1)
    best: Ints = np.where(whole.max(axis=0) >= 0, whole.argmax(axis=0), parts.argmax(axis=0))
    return best


def _context(windows: Ints, first: Ints, end: Ints) -> Ints:
    """The shorter side of what stands around `[first, end)` in each window `[n, N]`, -1 where it is not inside."""
    left, right = first - windows[:, :1], windows[:, 1:] - end
    return np.where((left >= 0) & (right >= 0), np.minimum(left, right), -1)


@dataclass(frozen=True, slots=True)
class Rows:
    """How a text's subwords `[T]`, special ones among them, are laid out in rows for the network."""

    places: tuple[Ints, ...]
    """Of each row, which subwords of the text it is made of."""
    row: Ints
    """`[T]`, the row that each subword's state is taken from."""
    column: Ints
    """`[T]`, where it is in that row."""

    @classmethod
    def one(cls, length: int) -> Rows:
        """A single row."""
        places = np.arange(length)
        return cls((places,), np.zeros_like(places), places)


def window_rows(words: Ints, windows: Ints) -> Rows:
    """A text in `windows [n, 2]`, with its special tokens around each of them.

    `words [T]` say what word each subword is of, -1 for the special ones; windows count those between them. States of
    special tokens are those of the first and of the last row.
    """
    real = np.flatnonzero(words >= 0)
    begin, end = int(real[0]), int(real[-1]) + 1
    before, after = np.arange(begin), np.arange(end, len(words))
    row, column = np.zeros(len(words), dtype=np.int64), np.arange(len(words))
    chosen = best_window(words[begin:end], windows)
    row[begin:end] = chosen
    column[begin:end] = begin + np.arange(end - begin) - windows[chosen, 0]
    row[end:] = len(windows) - 1
    column[end:] = begin + windows[-1, 1] - windows[-1, 0] + np.arange(len(after))
    places = [np.concatenate([before, np.arange(begin + s, begin + e), after]) for s, e in windows.tolist()]
    return Rows(tuple(places), row, column)


def has_windows(inputs: Features) -> bool:
    """Whether a batch has a text that is read in several windows."""
    return f"{WINDOW}position" in inputs


def of_windows(inputs: Features, names: Sequence[str]) -> Features:
    """What the network is given of a batch with windows: `[R, L]`, a row a window."""
    return {name: inputs[WINDOW + name] for name in names}


def prefix_of_windows(prefix: Prefix, inputs: Features) -> Prefix:
    """Each example's prefix for all of its windows: `[R, heads, P, head_dim]`."""
    example = inputs[f"{WINDOW}example"]
    return [(key[example], value[example]) for key, value in prefix]


def joined(states: Tensor, inputs: Features) -> Tensor:
    """States of whole texts `[B, T, D]` from those of their windows `[R, L, D]`; arbitrary on padding."""
    whole: Tensor = states.flatten(0, 1)[inputs[f"{WINDOW}position"]]
    return whole


def positions(rows: Sequence[Ints], columns: Sequence[Ints], width: int, longest: int) -> Tensor:
    """`[B, T]`: where in windows `[R, L]`, laid out flat, each subword's state is; 0 on padding.

    `rows[i]` and `columns[i]` are of text i, rows counted over the whole batch; L is `width` and T `longest`.
    """
    found = np.zeros((len(rows), longest), dtype=np.int64)
    for target, row, column in zip(found, rows, columns, strict=True):
        target[: len(row)] = row * width + column
    return torch.from_numpy(found)
