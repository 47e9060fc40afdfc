"""The two networks of a CLIP checkpoint (Radford et al. 2021), each with its projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedConfig,
)

from mmkit.encoders.pretrained import LOADING_ERRORS, cannot_load, hub_options, load_network
from mmkit.encoders.sharing import shared
from mmkit.errors import PartError

WELL_KNOWN = (
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
)
"""Only for the hint when a name cannot be found."""

Network = TypeVar("Network", CLIPTextModelWithProjection, CLIPVisionModelWithProjection)


def clip_network(
    kind: type[Network], name: str, revision: str | None, saved: Path | None, frozen: bool
) -> Network:
    """One of CLIP's networks: pretrained or, given `saved`, as initialised from the configuration there.

    Frozen ones of one checkpoint are shared (see `sharing`). Raises `PartError` if it cannot be had.
    """

    def make() -> Network:
        return _load(kind, name, revision) if saved is None else _initialised(kind, saved)

    if not frozen:
        return make()
    return shared((kind, name, revision, saved is None), lambda: make().requires_grad_(False))


def clip_error(source: str, error: Exception) -> PartError:
    """What to tell of a CLIP checkpoint that cannot be loaded."""
    files = "config.json, model.safetensors, the tokenizer's files and preprocessor_config.json"
    return cannot_load("the CLIP model", source, WELL_KNOWN, files, error)


def _load(kind: type[Network], name: str, revision: str | None) -> Network:
    options = hub_options(revision)
    try:
        config = _of_part(kind, AutoConfig.from_pretrained(name, **options), name)
        return cast(Network, load_network(kind, name, config, **options))
    except LOADING_ERRORS as error:
        raise clip_error(name, error) from error


def _initialised(kind: type[Network], saved: Path) -> Network:
    try:
        return kind(_of_part(kind, AutoConfig.from_pretrained(saved), str(saved)))
    except LOADING_ERRORS as error:
        raise clip_error(str(saved), error) from error


def _of_part(kind: type[Network], config: PreTrainedConfig, source: str) -> Any:
    """The configuration of a network alone; of a whole checkpoint, the part's with the common width."""
    wanted: Any = kind.config_class
    if isinstance(config, CLIPConfig):
        part = getattr(config, wanted.base_config_key)
        part.projection_dim = config.projection_dim
        return part
    if not isinstance(config, wanted):
        raise PartError(
            f"{source!r} is a {config.model_type} model, not {kind.__name__}",
            hint="take a CLIP model, such as openai/clip-vit-base-patch32",
            code="encoder.wrong-model",
        )
    return config
