"""One network in memory for several frozen encoders of the same pretrained weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_made: ContextVar[dict[Hashable, nn.Module] | None] = ContextVar("networks to share", default=None)
_hashes: WeakKeyDictionary[nn.Module, tuple[Hashable, str]] = WeakKeyDictionary()


@contextmanager
def sharing() -> Iterator[None]:
    """Let `shared` return networks that it made before in this block; an inner block shares separately."""
    token = _made.set({})
    try:
        yield
    finally:
        _made.reset(token)


def shared(key: Hashable, make: Callable[[], Network]) -> Network:
    """The network that was made for `key` in this `sharing` block, else a new one.

    `key` contains everything on which `make` depends. Use it only for networks that are never trained.
    """
    made = _made.get()
    if made is None:
        return make()
    if key not in made:
        made[key] = make()
    return cast(Network, made[key])


def weights_hash(module: nn.Module) -> str:
    """A hash over all parameters and buffers by name; a child that several modules share is read once."""
    own = {name: tensor for name, tensor in module.state_dict().items() if "." not in name}
    children = "".join(f" {name} {_kept_hash(child)}" for name, child in sorted(module.named_children()))
    return _hash(own) + children


def _kept_hash(module: nn.Module) -> str:
    """The hash of a module's tensors, kept as long as none of them is replaced or written to."""
    tensors = module.state_dict()
    state = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors.values())
    if (kept := _hashes.get(module)) is None or kept[0] != state:
        kept = _hashes[module] = (state, _hash(tensors))
    return kept[1]


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
