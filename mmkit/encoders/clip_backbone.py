"""The two networks of a CLIP checkpoint (Radford et al. 2021), each with its projection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from transformers import (
    CLIPConfig,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedConfig,
)

from mmkit.encoders.sharing import shared
from mmkit.errors import PartError
from mmkit.pretrained.source import Pretrained

WELL_KNOWN = (
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
)
"""Only for the hint if a name cannot be found."""

Network = TypeVar("Network", CLIPTextModelWithProjection, CLIPVisionModelWithProjection)


def clip_network(
    kind: type[Network], name: str, revision: str | None, saved: Path | None, frozen: bool
) -> Network:
    """One of CLIP's networks: pretrained or, given `saved`, as initialised from the configuration there.

    Frozen ones of one checkpoint are shared (see `sharing`). Raises `PartError` if it cannot be loaded.
    """

    def make() -> Network:
        return _load(kind, clip_model(name, revision, saved))

    if not frozen:
        return make()
    return shared((kind, name, revision, saved is None), lambda: make().requires_grad_(False))


def clip_model(
    name: str, revision: str | None, saved: Path | None, needs: Sequence[str] = ("weights",)
) -> Pretrained:
    """Where a CLIP checkpoint is loaded from, with what it `needs`."""
    return Pretrained(name, "the CLIP model", revision, WELL_KNOWN, needs=needs, saved=saved)


def _load(kind: type[Network], model: Pretrained) -> Network:
    config = _of_part(kind, model.config(), model.source)
    if model.saved is not None:
        return cast(Network, model.initialised(kind, config))
    return cast(Network, model.network(kind, config))


def _of_part(kind: type[Network], config: PreTrainedConfig, source: str) -> Any:
    """The configuration of one network; for a whole checkpoint, that of its part, with the common width."""
    wanted: Any = kind.config_class
    if isinstance(config, CLIPConfig):
        part = getattr(config, wanted.base_config_key)
        part.projection_dim = config.projection_dim
        return part
    if not isinstance(config, wanted):
        raise PartError(
            f"{source!r} is a {config.model_type} model, not {kind.__name__}",
            hint="use a CLIP model, such as openai/clip-vit-base-patch32",
            code="encoder.wrong-model",
        )
    return config
