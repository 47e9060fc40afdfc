"""Where code must not look at values, because the host would wait for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# One for each block of `without_waiting` that runs. It is no context variable, because compiled networks ask too.
_trying: list[bool] = []


@contextmanager
def without_waiting() -> Iterator[None]:
    """Take on a CPU the ways that wait for nothing, as on a GPU: to try whether an update can be captured there."""
    _trying.append(True)
    try:
        yield
    finally:
        _trying.pop()


def may_wait(device: torch.device) -> bool:
    """Whether values on `device` may be looked at to save work: on a CPU, where nothing has to be waited for."""
    return device.type == "cpu" and not _trying
