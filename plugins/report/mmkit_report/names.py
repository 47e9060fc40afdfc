"""Short names of runs, for tables and headings."""

from __future__ import annotations

from collections.abc import Sequence


def common_folder(names: Sequence[str]) -> str:
    """The folder that the names of several runs begin with, with its slash: what does not tell them apart.

    Empty for a single name, and where there is none. Of each name something is left.
    """
    if len(names) < 2:
        return ""
    folders = [name.split("/")[:-1] for name in names]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return "".join(f"{part}/" for part in folders[0][:shared])
