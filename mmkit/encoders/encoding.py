"""Encoding loaded items in batches: on a GPU in large ones, which come and go while others are encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.errors import ImageError

TIMES = 16
"""How much larger batches on a GPU are at most."""
ROOM = 2 << 30
"""Bytes of a GPU's memory that a batch of the size for a CPU may take; a batch that takes more is halved."""
SHARE = 1 / 4
"""Of a GPU's free memory, for a batch."""


class Encoded(NamedTuple):
    """A batch of items: features `[n, ...]` on the host of those that could be loaded, in the order of `keys`."""

    keys: list[str]
    features: Features
    broken: dict[str, ImageError]

    @property
    def total(self) -> int:
        """Items of the batch."""
        return len(self.keys) + len(self.broken)


def batch_for(size: int, device: torch.device | None, free_bytes: int | None = None) -> int:
    """How many items are encoded together: `size` on a CPU, more on a GPU with so much free memory (default: asked)."""
    if device is None or device.type != "cuda":
        return size
    free = torch.cuda.mem_get_info(device)[0] if free_bytes is None else free_bytes
    times = int(SHARE * free) // ROOM
    return size * max(1, min(TIMES, 1 << max(0, times.bit_length() - 1)))


def encoded(encoder: ItemEncoder, loaded: Iterator[tuple[str, Any]], size: int) -> Iterator[Encoded]:
    """Loaded items, or the error of each that is broken, in batches of `size` or, on a GPU, of at most that."""
    on_gpu = encoder.device is not None and encoder.device.type == "cuda"
    there, back = (torch.cuda.Stream(encoder.device) if on_gpu else None for _ in range(2))
    waiting: deque[tuple[list[str], _Coming, dict[str, ImageError]]] = deque()
    while batch := list(islice(loaded, size)):
        good = {key: item for key, item in batch if not isinstance(item, ImageError)}
        broken = {key: item for key, item in batch if isinstance(item, ImageError)}
        parts, size = _made(encoder, list(good.values()), size, there)
        waiting.append((list(good), _Coming([_sent(part, back) for part in parts]), broken))
        while len(waiting) > on_gpu:  # one batch is on its way while the next one is encoded
            keys, coming, errors = waiting.popleft()
            yield Encoded(keys, coming.here(), errors)
    for keys, coming, errors in waiting:
        yield Encoded(keys, coming.here(), errors)


def _made(
    encoder: ItemEncoder, items: Sequence[Any], size: int, stream: torch.cuda.Stream | None
) -> tuple[list[Features], int]:
    """Features of the items on the encoder's device, in parts where they do not fit, and the size that did."""
    parts: list[Features] = []
    rest = list(items)
    while rest:
        stack = encoder.source.stack(rest[:size])
        try:
            parts.append(encoder.encode(stack if stream is None else _brought(stack, stream)))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = max(1, min(size, len(rest)) // 2)
            continue
        rest = rest[size:]
    return parts, size


def _brought(stack: Features, stream: torch.cuda.Stream) -> Features:
    """Items on their way to the GPU, on a stream of their own: the batch before is still being encoded meanwhile."""
    encoding = torch.cuda.current_stream(stream.device)
    with torch.cuda.stream(stream):
        there = {name: t.pin_memory().to(stream.device, non_blocking=True) for name, t in stack.items()}
    encoding.wait_stream(stream)
    for tensor in there.values():
        tensor.record_stream(encoding)  # its memory is free when the encoder has read it
    return there


def _sent(features: Features, stream: torch.cuda.Stream | None) -> tuple[Features, torch.cuda.Event | None]:
    """Features on their way to the host, and the event that says when they are there."""
    if stream is None:
        return {name: tensor.cpu() for name, tensor in features.items()}, None
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        host: Features = {}
        for name, tensor in features.items():
            here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host[name] = here.copy_(tensor, non_blocking=True)
            tensor.record_stream(stream)
        return host, stream.record_event()


class _Coming(NamedTuple):
    """Parts of a batch on their way to the host."""

    parts: list[tuple[Features, torch.cuda.Event | None]]

    def here(self) -> Features:
        """The features of the whole batch, when they are there; nothing if no item could be loaded."""
        for _, event in self.parts:
            if event is not None:
                event.synchronize()
        every = [features for features, _ in self.parts]
        if len(every) <= 1:
            return every[0] if every else {}
        names = every[0]
        return {name: _joined([features[name] for features in every]) for name in names}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Rows of several parts, `[n, ...]` each, padded with zeros to the longest where their lengths differ."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    out = tensors[0].new_zeros(sum(map(len, tensors)), *shape)
    first = 0
    for tensor in tensors:
        out[(slice(first, first + len(tensor)), *(slice(0, n) for n in tensor.shape[1:]))] = tensor
        first += len(tensor)
    return out
