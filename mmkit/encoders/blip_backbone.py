"""BLIP's networks (Li et al. 2022): images, texts, texts grounded in images, and its two scores of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from transformers import BlipConfig, BlipForImageTextRetrieval, PreTrainedConfig

from mmkit.encoders.sharing import shared
from mmkit.errors import PartError
from mmkit.pretrained.source import Pretrained

WELL_KNOWN = (
    "Salesforce/blip-itm-base-coco",
    "Salesforce/blip-itm-base-flickr",
    "Salesforce/blip-itm-large-coco",
    "Salesforce/blip-itm-large-flickr",
)
"""Models of the Hub that have the text encoder, also for the hint if a name cannot be found."""


def blip_network(
    name: str, revision: str | None, saved: Path | None, frozen: bool
) -> BlipForImageTextRetrieval:
    """BLIP for retrieval: pretrained or, given `saved`, as initialised from the configuration there.

    Frozen ones of one checkpoint are shared (see `sharing`). Raises `PartError` if it cannot be loaded, is another
    kind of model, or is a BLIP without the text encoder, such as those for captions.
    """

    def make() -> BlipForImageTextRetrieval:
        return _load(blip_model(name, revision, saved))

    if not frozen:
        return make()
    return shared(
        (BlipForImageTextRetrieval, name, revision, saved is None), lambda: make().requires_grad_(False)
    )


def blip_model(name: str, revision: str | None, saved: Path | None) -> Pretrained:
    """Where a BLIP checkpoint is loaded from."""
    needs = ("tokenizer", "pictures") if saved else ("weights", "tokenizer", "pictures")
    return Pretrained(name, "the BLIP model", revision, WELL_KNOWN, needs=needs, saved=saved)


def _load(model: Pretrained) -> BlipForImageTextRetrieval:
    config = _of_blip(model.config(), model.source)
    if model.saved is not None:
        return cast(BlipForImageTextRetrieval, model.initialised(BlipForImageTextRetrieval, config))
    return cast(BlipForImageTextRetrieval, model.network(BlipForImageTextRetrieval, config))


def _of_blip(config: PreTrainedConfig, source: str) -> BlipConfig:
    """The configuration, if it is that of a BLIP with a text encoder and both scores."""
    kind = (config.architectures or [BlipForImageTextRetrieval.__name__])[0]
    if isinstance(config, BlipConfig) and kind == BlipForImageTextRetrieval.__name__:
        return config
    raise PartError(
        f"{source!r} is a {config.model_type} model ({kind}), not BLIP for image-text retrieval",
        hint=f"use one for retrieval, such as {WELL_KNOWN[0]}",
        code="encoder.wrong-model",
    )
